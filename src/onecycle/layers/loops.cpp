// Pooling, normalisation and activations of images whose channels are last in memory: loops that wait for memory, so
// that each goes over its values as few times as can be, and asks for them in time. `rows` are pixels, of all images;
// float32 or bfloat16 values are computed with in float32. Compiled and called by native.py.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
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

// Ask for the values 2 KB behind so many, which are needed soon: of itself a processor asks for what is next in memory
// no further than to the end of 4 KB.
template <class T>
inline void ask_ahead(const T *values, int64_t count) {
    const char *from = reinterpret_cast<const char *>(values) + 2048;
    for (int64_t i = 0; i < count * static_cast<int64_t>(sizeof(T)); i += 64) __builtin_prefetch(from + i);
}

// --- max-pooling of 2x2 pixels ---------------------------------------------------------------------------------------

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
            ask_ahead(a, 2 * channels);
            ask_ahead(c, 2 * channels);
#pragma omp simd
            for (int64_t k = 0; k < channels; k++) {
                float largest = load(a[k]);
                int32_t which = 0;
                const float others[3] = {load(b[k]), load(c[k]), load(d[k])};
                for (int32_t i = 0; i < 3; i++) {
                    const bool larger = others[i] > largest || others[i] != others[i];  // the last NaN wins: PyTorch
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

// --- normalisation ---------------------------------------------------------------------------------------------------

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
        ask_ahead(values, channels);
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
        ask_ahead(values, channels);
        ask_ahead(grads, channels);
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
        ask_ahead(from, channels);
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
        ask_ahead(grads, channels);
        ask_ahead(values, channels);
#pragma omp simd
        for (int64_t k = 0; k < channels; k++) {
            store(load(grads[k]) * scale[k] + (load(values[k]) - center[k]) * slope[k] + shift[k], to[k]);
        }
    }
}

// --- activations, of bfloat16 ----------------------------------------------------------------------------------------

// `each` of so many values, by 256 of them, for the next of which all that is read is asked for.
template <class Each>
void over_values(int64_t values, int64_t threads, std::initializer_list<const bfloat16 *> read, Each each) {
    const int64_t at_once = 256;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < values; from += at_once) {
        const int64_t to = std::min(from + at_once, values);
        for (const bfloat16 *one : read) ask_ahead(one + from, to - from);
#pragma omp simd
        for (int64_t i = from; i < to; i++) each(i);
    }
}

// What is 0 or less becomes 0. `y` may be `x`.
void relu(const bfloat16 *x, bfloat16 *y, int64_t values, int64_t threads) {
    over_values(values, threads, {x}, [=](int64_t i) {
        const float value = load(x[i]);
        store(value <= 0 ? 0.0f : value, y[i]);
    });
}

// Of the gradient what is 0 or less in `y` becomes 0.
void relu_backward(const bfloat16 *grad_y, const bfloat16 *y, bfloat16 *grad_x, int64_t values, int64_t threads) {
    over_values(values, threads, {grad_y, y}, [=](int64_t i) {
        const float grad = load(grad_y[i]);
        store(load(y[i]) <= 0 ? 0.0f : grad, grad_x[i]);
    });
}

// The normal distribution at -|x|, and its density at x times sqrt(2 pi).
struct Tail {
    float distribution, density;
};

inline Tail tail(float x) {
    // The density is 2 to a power: of the whole number that is nearest, by a float's bits, which end with that number
    // once 1.5 * 2^23 is added; of the rest, from -1/2 to 1/2, by a polynomial. What is below 2^-126 is 0.
    constexpr float round = 12582912.0f;
    const float square = x * x * -0.72134752f, power = square > -127.0f ? square : -127.0f;
    const float whole = power + round, part = power - (whole - round);
    uint32_t exponent;
    std::memcpy(&exponent, &whole, sizeof exponent);
    exponent = (exponent + 127) << 23;
    float density;
    std::memcpy(&density, &exponent, sizeof density);
    density *= 0.99999926f + part * (0.69312181f + part * (0.24024745f + part * (0.05591794f + part * 0.00957012f)));
    // The distribution over the density, also by a polynomial, up to 5.5: what is beyond is less than 2e-8.
    constexpr float coefficients[] = {0.499972485f,    -0.398055742f,   0.244877879f,     -0.120680636f,
                                      0.0463398368f,   -0.0131704076f,  0.00261669036f,   -0.000338973161f,
                                      2.55195764e-05f, -8.43066177e-07f};
    const float t = std::abs(x) < 5.5f ? std::abs(x) : 5.5f;
    float ratio = coefficients[9];
    for (int i = 8; i >= 0; i--) ratio = ratio * t + coefficients[i];
    return {density * ratio, density};
}

// GELU of bfloat16 values: relative errors are 2e-4 before rounding to 8 bits, more below -5.5, where it is under 2e-7.
void gelu(const bfloat16 *x, bfloat16 *y, int64_t values, int64_t threads) {
    over_values(values, threads, {x}, [=](int64_t i) {
        const float value = load(x[i]);
        const float size = std::abs(value) > 16 ? 16 : std::abs(value);  // not infinity times 0
        store((value > 0 ? value : 0) - size * tail(value).distribution, y[i]);
    });
}

void gelu_backward(const bfloat16 *grad_y, const bfloat16 *x, bfloat16 *grad_x, int64_t values, int64_t threads) {
    over_values(values, threads, {grad_y, x}, [=](int64_t i) {
        const float value = load(x[i]);
        const Tail at = tail(value);
        const float distribution = value > 0 ? 1 - at.distribution : at.distribution;
        store(load(grad_y[i]) * (distribution + value * at.density * 0.39894228f), grad_x[i]);
    });
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
EXPORT(relu_bfloat16, relu);
EXPORT(relu_backward_bfloat16, relu_backward);
EXPORT(gelu_bfloat16, gelu);
EXPORT(gelu_backward_bfloat16, gelu_backward);
