// Pooling and normalisation of images whose channels are last in memory: loops that wait for memory, so
// that each goes over its values as few times as can be. `rows` are pixels, of all images; float32 or bfloat16 values
// are computed with in float32. Compiled and called by native.py.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

using std::int64_t;
using std::uint16_t;
using std::uint32_t;
using std::uint8_t;

namespace {

struct bfloat16 {
    uint16_t bits;
};

inline float load(float value) { return value; }

inline float load(bfloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

inline void store(float value, float &to) { to = value; }

// Rounds to the nearest, of two as near to the even one; NaN stays NaN.
inline void store(float value, bfloat16 &to) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    to.bits = static_cast<uint16_t>(value == value ? rounded : 0x7fc0);
}

// --- max-pooling of 2x2 pixels ----------------------------------------------------------------------------------------

// `winner` is which of the four pixels the largest value is of: above left, above right, below left, below right.
template <class T>
void max_pool(const T *x, T *y, uint8_t *winner, int64_t images, int64_t height, int64_t width, int64_t channels,
              int64_t threads) {
    const int64_t out_height = height / 2, out_width = width / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < images * out_height; row++) {
        const T *above = x + (row / out_height * height + row % out_height * 2) * width * channels;
        for (int64_t column = 0; column < out_width; column++) {
            const T *a = above + 2 * column * channels, *b = a + channels, *c = a + width * channels, *d = c + channels;
            const int64_t at = (row * out_width + column) * channels;
#pragma omp simd
            for (int64_t k = 0; k < channels; k++) {
                float largest = load(a[k]);
                int32_t which = 0;
                const float others[3] = {load(b[k]), load(c[k]), load(d[k])};
                for (int32_t i = 0; i < 3; i++) {
                    const bool larger = others[i] > largest || others[i] != others[i];  // the last NaN wins, as in PyTorch
                    which = larger ? i + 1 : which;
                    largest = larger ? others[i] : largest;
                }
                store(largest, y[at + k]);
                winner[at + k] = static_cast<uint8_t>(which);
            }
        }
    }
}

// Bits: unsigned integers of the size of the values, which are kept or made zero.
template <class Bits>
void max_pool_backward(const Bits *grad_y, const uint8_t *winner, Bits *grad_x, int64_t images, int64_t height,
                       int64_t width, int64_t channels, int64_t threads) {
    const int64_t out_height = height / 2, out_width = width / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < images * height; row++) {
        const int64_t image = row / height, line = row % height;
        Bits *to = grad_x + row * width * channels;
        if (line >= 2 * out_height) {
            std::fill_n(to, width * channels, 0);
            continue;
        }
        const uint8_t left = line % 2 * 2, right = left + 1;
        for (int64_t column = 0; column < out_width; column++, to += 2 * channels) {
            const int64_t at = ((image * out_height + line / 2) * out_width + column) * channels;
#pragma omp simd
            for (int64_t k = 0; k < channels; k++) {
                to[k] = grad_y[at + k] & -static_cast<Bits>(winner[at + k] == left);
                to[channels + k] = grad_y[at + k] & -static_cast<Bits>(winner[at + k] == right);
            }
        }
        std::fill_n(to, width % 2 * channels, 0);
    }
}

// --- normalisation ----------------------------------------------------------------------------------------------------

// Two sums over the rows for each channel, [threads, 2, channels], of which `add(row, first, second)` adds one row's.
// Float32 for a few rows, float64 beyond, so that a million rows lose nothing.
template <class Add>
void sums_of_rows(double *sums, int64_t rows, int64_t channels, int64_t threads, Add add) {
    const int64_t at_once = 64;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; thread++) {
        double *total = sums + thread * 2 * channels;
        std::fill_n(total, 2 * channels, 0.0);
        std::vector<float> part(2 * channels);
        const int64_t end = rows * (thread + 1) / threads;
        for (int64_t from = rows * thread / threads; from < end; from += at_once) {
            std::fill(part.begin(), part.end(), 0.0f);
            for (int64_t row = from; row < std::min(from + at_once, end); row++) {
                add(row, part.data(), part.data() + channels);
            }
            for (int64_t k = 0; k < 2 * channels; k++) total[k] += part[k];
        }
    }
}

// Of x - center and its square.
template <class T>
void moments(const T *x, const float *center, double *sums, int64_t rows, int64_t channels, int64_t threads) {
    sums_of_rows(sums, rows, channels, threads, [=](int64_t row, float *first, float *second) {
        const T *values = x + row * channels;
#pragma omp simd
        for (int64_t k = 0; k < channels; k++) {
            const float value = load(values[k]) - center[k];
            first[k] += value;
            second[k] += value * value;
        }
    });
}

// Of the gradient and its product with x - center.
template <class T>
void gradient_moments(const T *grad_y, const T *x, const float *center, double *sums, int64_t rows, int64_t channels,
                      int64_t threads) {
    sums_of_rows(sums, rows, channels, threads, [=](int64_t row, float *first, float *second) {
        const T *values = x + row * channels, *grads = grad_y + row * channels;
#pragma omp simd
        for (int64_t k = 0; k < channels; k++) {
            const float grad = load(grads[k]);
            first[k] += grad;
            second[k] += grad * (load(values[k]) - center[k]);
        }
    });
}

// y = scale * x + shift
template <class T>
void scale_and_shift(const T *x, const float *scale, const float *shift, T *y, int64_t rows, int64_t channels,
                     int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const T *from = x + row * channels;
        T *to = y + row * channels;
#pragma omp simd
        for (int64_t k = 0; k < channels; k++) store(load(from[k]) * scale[k] + shift[k], to[k]);
    }
}

// grad_x = scale * grad_y + slope * (x - center) + shift
template <class T>
void norm_backward(const T *grad_y, const T *x, const float *scale, const float *slope, const float *center,
                   const float *shift, T *grad_x, int64_t rows, int64_t channels, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const T *grads = grad_y + row * channels, *values = x + row * channels;
        T *to = grad_x + row * channels;
#pragma omp simd
        for (int64_t k = 0; k < channels; k++) {
            store(load(grads[k]) * scale[k] + (load(values[k]) - center[k]) * slope[k] + shift[k], to[k]);
        }
    }
}

}  // namespace

// What native.py finds by name: pointers to the functions, which keep their parameters in one place.
#define EXPORT(name, function) extern "C" const auto name = &function
EXPORT(max_pool_float32, max_pool<float>);
EXPORT(max_pool_bfloat16, max_pool<bfloat16>);
EXPORT(max_pool_backward_float32, max_pool_backward<uint32_t>);
EXPORT(max_pool_backward_bfloat16, max_pool_backward<uint16_t>);
EXPORT(moments_float32, moments<float>);
EXPORT(moments_bfloat16, moments<bfloat16>);
EXPORT(gradient_moments_float32, gradient_moments<float>);
EXPORT(gradient_moments_bfloat16, gradient_moments<bfloat16>);
EXPORT(scale_and_shift_float32, scale_and_shift<float>);
EXPORT(scale_and_shift_bfloat16, scale_and_shift<bfloat16>);
EXPORT(norm_backward_float32, norm_backward<float>);
EXPORT(norm_backward_bfloat16, norm_backward<bfloat16>);
