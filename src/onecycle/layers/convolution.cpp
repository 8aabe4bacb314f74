// 3x3 convolutions of bfloat16 images, channels last, with zeros around them, by a processor's matrix units (AMX).
//
// These multiply tiles of 16 rows of 64 bytes: two tiles make a product that is added to a third. Here the rows of a
// tile, or the values in them, are pixels of 16 or 32 images at one place. So tiles are full whatever side an image has,
// and the products with the zeros around it are left out. Images are copied into that order a few rows of pixels at a
// time, which then stay in a core's cache. Compiled and called by native.py.

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

using std::int64_t;
using std::uint16_t;

namespace {

constexpr int64_t TILE = 512;           // bfloat16 values of a tile, or twice those of float32
constexpr int64_t CACHE = 1024 * 1024;  // bytes of copies at a time: half of a core's second cache

inline int64_t blocks(int64_t channels) { return (channels + 31) / 32; }  // the last is filled up with zeros

inline __mmask32 first_of_block(int64_t channels) { return channels >= 32 ? ~0u : (1u << channels) - 1; }

struct Free {
    void operator()(void *memory) const { std::free(memory); }
};
using Scratch = std::unique_ptr<uint16_t, Free>;

Scratch tiles_for(int64_t count) {
    return Scratch(static_cast<uint16_t *>(std::aligned_alloc(64, static_cast<size_t>(count * TILE * 2))));
}

// All eight tiles of this thread at their full size, for as long as this lives; then again what PyTorch had made of them.
class Tiles {
  public:
    Tiles() {
        _tile_storeconfig(before_);
        alignas(64) unsigned char full[64] = {1};  // palette; from 16 on the bytes of a row, from 48 on the rows
        for (int tile = 0; tile < 8; tile++) {
            full[16 + 2 * tile] = 64;
            full[48 + tile] = 16;
        }
        _tile_loadconfig(full);
    }
    ~Tiles() { before_[0] ? _tile_loadconfig(before_) : _tile_release(); }
    Tiles(const Tiles &) = delete;
    Tiles &operator=(const Tiles &) = delete;

  private:
    alignas(64) unsigned char before_[64];
};

// --- images into tiles ------------------------------------------------------------------------------------------------

// A batch [n, h, w, c], of which some images next to each other are taken at a time.
struct Images {
    const uint16_t *values;
    int64_t count, height, width, channels;

    int64_t size() const { return height * width * channels; }

    // Rows of pixels as tiles [rows, c / 32, w], `length` values each: what `pack` makes of a function that gives an
    // image's 32 values there, zeros for one that there is not.
    template <class Pack>
    void pack(int64_t image, int64_t from, int64_t to, uint16_t *tiles, int64_t length, Pack pack) const {
        const int64_t of_image = size(), present = count - image, all = channels;
        for (int64_t row = from; row < to; row++) {
            for (int64_t column = 0; column < width; column++) {
                const uint16_t *pixel = values + image * of_image + (row * width + column) * all;
                for (int64_t block = 0; block < blocks(all); block++) {
                    const __mmask32 inside = first_of_block(all - 32 * block);
                    const int64_t at = ((row - from) * blocks(all) + block) * width + column;
                    pack(tiles + at * length, [=](int64_t i) {
                        const uint16_t *first = pixel + i * of_image + 32 * block;
                        return i < present ? _mm512_maskz_loadu_epi16(inside, first) : _mm512_setzero_si512();
                    });
                }
            }
        }
    }
};

// A tile of 16 images by 32 channels.
struct ByImage {
    template <class Load>
    void operator()(uint16_t *tile, Load load) const {
        for (int64_t image = 0; image < 16; image++) _mm512_store_si512(tile + 32 * image, load(image));
    }
};

// Two tiles, for 16 channels each, of 16 pairs of images by channels: a pair's values side by side.
struct ByPair {
    template <class Load>
    void operator()(uint16_t *tiles, Load load) const {
        alignas(64) static constexpr uint16_t turns[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                           8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
        const __m512i lower = _mm512_load_si512(turns), upper = _mm512_add_epi16(lower, _mm512_set1_epi16(16));
        for (int64_t pair = 0; pair < 16; pair++) {
            const __m512i first = load(2 * pair), second = load(2 * pair + 1);
            _mm512_store_si512(tiles + 32 * pair, _mm512_permutex2var_epi16(first, lower, second));
            _mm512_store_si512(tiles + TILE + 32 * pair, _mm512_permutex2var_epi16(first, upper, second));
        }
    }
};

// Two tiles of 16 channels each by 32 images: those of pairs, transposed.
struct ByChannel {
    template <class Load>
    void operator()(uint16_t *tiles, Load load) const {
        ByPair()(tiles, load);
        transpose(tiles);
        transpose(tiles + TILE);
    }

    // 16 rows of 16 pairs: 2x2 of them, then 4x4, in each quarter of a register, then the quarters.
    static void transpose(uint16_t *tile) {
        __m512i a[16], b[16];
        for (int i = 0; i < 16; i++) a[i] = _mm512_load_si512(tile + 32 * i);
        for (int i = 0; i < 16; i += 2) {
            b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
            b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
        }
        for (int i = 0; i < 16; i += 4) {
            a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
            a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
            a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
            a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
        }
        for (int i = 0; i < 4; i++) {
            b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
            b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
            b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
            b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
        }
        for (int i = 0; i < 8; i++) {
            _mm512_store_si512(tile + 32 * i, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
            _mm512_store_si512(tile + 32 * (i + 8), _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
        }
    }
};

// --- the convolution --------------------------------------------------------------------------------------------------

// Filters [o, 3, 3, i] as tiles [o / 32, 3 rows, i / 32, 3 columns, 2, 16 pairs of inputs, 16 outputs, 2]. For the
// gradient of the images outputs and inputs change places, and the filters are turned around.
void pack_filters(const uint16_t *filters, uint16_t *tiles, int64_t outputs, int64_t inputs, int64_t turned,
                  int64_t threads) {
    const int64_t of_output = turned ? 1 : 9 * inputs, of_input = turned ? 9 * inputs : 1;
    if (turned) std::swap(outputs, inputs);
    const int64_t channels = turned ? outputs : inputs;  // of a filter's pixel in memory
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < blocks(outputs) * blocks(inputs) * 9; part++) {
        const int64_t column = part % 3, block = part / 3 % blocks(inputs), row = part / 3 / blocks(inputs) % 3;
        const int64_t shift = turned ? 8 - 3 * row - column : 3 * row + column;
        const int64_t first_output = part / (9 * blocks(inputs)) * 32, first_input = block * 32;
        const uint16_t *from = filters + first_output * of_output + shift * channels + first_input * of_input;
        uint16_t *to = tiles + part * 2 * TILE;
        for (int64_t half = 0; half < 2; half++) {
            for (int64_t pair = 0; pair < 16; pair++) {
                for (int64_t output = 16 * half; output < 16 * half + 16; output++) {
                    for (int64_t input = 2 * pair; input < 2 * pair + 2; input++, to++) {
                        const bool inside = first_output + output < outputs && first_input + input < inputs;
                        *to = inside ? from[output * of_output + input * of_input] : uint16_t(0);
                    }
                }
            }
        }
    }
}

// Up to three pixels next to each other of 16 images, for 32 outputs: computed, then written image by image while the
// next are computed.
struct Pixels {
    alignas(64) float sums[3][2][16][16];  // pixels, halves of the outputs, images, outputs
    uint16_t *to;
    int64_t count = 0, written = 16;

    void write(int64_t images, int64_t present, int64_t of_image, int64_t outputs, __mmask32 inside) {
        for (; images > 0 && written < present; images--, written++) {
            for (int64_t pixel = 0; pixel < count; pixel++) {
                const __m512 first = _mm512_load_ps(sums[pixel][0][written]), second = _mm512_load_ps(sums[pixel][1][written]);
                const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
                uint16_t *at = to + written * of_image + pixel * outputs;
                if (outputs % 32 == 0) {
                    _mm512_stream_si512(reinterpret_cast<__m512i *>(at), both);  // past the caches: there is too much of it
                } else {
                    _mm512_mask_storeu_epi16(at, inside, both);
                }
            }
        }
    }

    // Add the products of a row of pixels and of filters for 32 inputs, into tiles 0 to 5. Pixel `column` of `width` is
    // the first here, and x is that on its left.
    static void multiply(const uint16_t *x, const uint16_t *filters, int64_t column, int64_t width, int64_t pixels) {
#define MULTIPLY(pixel, one, other)                                          \
    if (pixel < pixels && pixel <= i && i < pixel + 3) {                     \
        _tile_loadd(7, filters + (i - pixel) * 2 * TILE, 64);                \
        _tile_dpbf16ps(one, 6, 7);                                           \
        _tile_loadd(7, filters + (i - pixel) * 2 * TILE + TILE, 64);         \
        _tile_dpbf16ps(other, 6, 7);                                         \
    }
#pragma GCC unroll 5
        for (int64_t i = 0; i < 5; i++) {
            if (column + i < 1 || column + i > width || i >= pixels + 2) continue;
            _tile_loadd(6, x + i * TILE, 64);
            MULTIPLY(0, 0, 1)
            MULTIPLY(1, 2, 3)
            MULTIPLY(2, 4, 5)
        }
#undef MULTIPLY
    }
};

// Images [n, h, w, i] and filters as tiles to [n, h, w, o].
void correlate(const uint16_t *x, const uint16_t *filters, uint16_t *y, int64_t images, int64_t height, int64_t width,
               int64_t inputs, int64_t outputs, int64_t threads) {
    const Images from = {x, images, height, width, inputs};
    const int64_t depth = blocks(inputs), of_image = height * width * outputs;
    const int64_t at_once = std::clamp(CACHE / (width * depth * TILE * 2) - 2, int64_t(1), height);
#pragma omp parallel num_threads(threads)
    {
        const Tiles tiles;
        const Scratch packed = tiles_for((at_once + 2) * width * depth);
        Pixels pixels[2];
#pragma omp for schedule(static)
        for (int64_t image = 0; image < images; image += 16) {
            const int64_t present = std::min(int64_t(16), images - image);
            for (int64_t top = 0; top < height; top += at_once) {
                const int64_t bottom = std::min(top + at_once, height);
                const int64_t first = std::max(top - 1, int64_t(0)), last = std::min(bottom + 1, height);
                from.pack(image, first, last, packed.get(), TILE, ByImage());
                for (int64_t block = 0; block < blocks(outputs); block++) {
                    const __mmask32 inside = first_of_block(outputs - 32 * block);
                    Pixels *now = &pixels[0], *before = &pixels[1];
                    before->written = 16;
                    for (int64_t row = top; row < bottom; row++) {
                        const int64_t above = row > 0 ? 0 : 1, below = row + 1 < height ? 3 : 2;
                        const int64_t meanwhile = 15 / (depth * (below - above)) + 1;
                        for (int64_t column = 0; column < width; column += now->count, std::swap(now, before)) {
                            const int64_t left = width - column, count = left == 4 ? 2 : std::min(left, int64_t(3));
                            _tile_zero(0);
                            _tile_zero(1);
                            _tile_zero(2);
                            _tile_zero(3);
                            _tile_zero(4);
                            _tile_zero(5);
                            for (int64_t shift = above; shift < below; shift++) {
                                for (int64_t k = 0; k < depth; k++) {
                                    const int64_t of_row = (row + shift - 1 - first) * depth + k;
                                    const uint16_t *a = packed.get() + (of_row * width + column - 1) * TILE;
                                    const uint16_t *b = filters + ((block * 3 + shift) * depth + k) * 6 * TILE;
                                    Pixels::multiply(a, b, column, width, count);
                                    before->write(meanwhile, present, of_image, outputs, inside);
                                }
                            }
                            _tile_stored(0, now->sums[0][0], 64);
                            _tile_stored(1, now->sums[0][1], 64);
                            _tile_stored(2, now->sums[1][0], 64);
                            _tile_stored(3, now->sums[1][1], 64);
                            _tile_stored(4, now->sums[2][0], 64);
                            _tile_stored(5, now->sums[2][1], 64);
                            now->to = y + image * of_image + (row * width + column) * outputs + 32 * block;
                            now->count = count;
                            now->written = 0;
                        }
                    }
                    before->write(16, present, of_image, outputs, inside);
                }
            }
        }
        _mm_sfence();
    }
}

// --- the gradient of its filters --------------------------------------------------------------------------------------

// Images [n, h, w, i] and the gradient of the output [n, h, w, o] to sums [threads, 3 rows, i / 16, o / 32, 3 columns, 2, 16
// inputs, 16 outputs].
void filter_gradient(const uint16_t *x, const uint16_t *grad_y, float *sums, int64_t images, int64_t height,
                     int64_t width, int64_t inputs, int64_t outputs, int64_t threads) {
    const Images from = {x, images, height, width, inputs}, to = {grad_y, images, height, width, outputs};
    const int64_t x_tiles = 2 * blocks(inputs), y_tiles = 2 * blocks(outputs), row_bytes = width * TILE * 2;
    const int64_t fitting = (CACHE / row_bytes - 2 * x_tiles) / (x_tiles + y_tiles);
    const int64_t at_once = std::clamp(fitting, int64_t(1), height);
    const int64_t groups = (images + 31) / 32, size = 9 * x_tiles * y_tiles * TILE / 2;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; thread++) {
        const Tiles tiles;
        const Scratch packed_x = tiles_for((at_once + 2) * width * x_tiles), packed_y = tiles_for(at_once * width * y_tiles);
        float *total = sums + thread * size;
        std::fill_n(total, size, 0.0f);
        for (int64_t group = groups * thread / threads; group < groups * (thread + 1) / threads; group++) {
            for (int64_t top = 0; top < height; top += at_once) {
                const int64_t bottom = std::min(top + at_once, height), lines = 95 / ((bottom - top) * width) + 1;
                const int64_t first = std::max(top - 1, int64_t(0)), last = std::min(bottom + 1, height);
                from.pack(32 * group, first, last, packed_x.get(), 2 * TILE, ByChannel());
                to.pack(32 * group, top, bottom, packed_y.get(), 2 * TILE, ByPair());
                float *sum = total;
                for (int64_t part = 0; part < 3 * x_tiles * y_tiles / 2; part++, sum += 3 * TILE) {
                    const int64_t shift = part / (x_tiles * y_tiles / 2) - 1;
                    const int64_t input = part / (y_tiles / 2) % x_tiles, block = part % (y_tiles / 2);
                    _tile_loadd(0, sum, 64);
                    _tile_loadd(1, sum + TILE / 2, 64);
                    _tile_loadd(2, sum + TILE, 64);
                    _tile_loadd(3, sum + TILE * 3 / 2, 64);
                    _tile_loadd(4, sum + TILE * 2, 64);
                    _tile_loadd(5, sum + TILE * 5 / 2, 64);
                    const float *next = sum + 3 * TILE;
                    for (int64_t row = std::max(top, -shift); row < std::min(bottom, height - shift); row++) {
                        const int64_t of_x = (row + shift - first) * x_tiles + input / 2 * 2, of_y = (row - top) * y_tiles + 2 * block;
                        const uint16_t *a = packed_x.get() + (of_x * width + input % 2) * TILE;
                        const uint16_t *b = packed_y.get() + of_y * width * TILE;
                        for (int64_t column = 0; column < width; column++, a += 2 * TILE, b += 2 * TILE) {
                            // The next sums' 96 lines of memory, some for each pixel.
                            for (int64_t line = 0; line < lines; line++, next += 16) _mm_prefetch(next, _MM_HINT_T0);
                            _tile_loadd(6, a, 64);
                            if (column + 1 < width) {
                                _tile_loadd(7, b + 2 * TILE, 64);
                                _tile_dpbf16ps(0, 6, 7);
                                _tile_loadd(7, b + 3 * TILE, 64);
                                _tile_dpbf16ps(1, 6, 7);
                            }
                            _tile_loadd(7, b, 64);
                            _tile_dpbf16ps(2, 6, 7);
                            _tile_loadd(7, b + TILE, 64);
                            _tile_dpbf16ps(3, 6, 7);
                            if (column > 0) {
                                _tile_loadd(7, b - 2 * TILE, 64);
                                _tile_dpbf16ps(4, 6, 7);
                                _tile_loadd(7, b - TILE, 64);
                                _tile_dpbf16ps(5, 6, 7);
                            }
                        }
                    }
                    _tile_stored(0, sum, 64);
                    _tile_stored(1, sum + TILE / 2, 64);
                    _tile_stored(2, sum + TILE, 64);
                    _tile_stored(3, sum + TILE * 3 / 2, 64);
                    _tile_stored(4, sum + TILE * 2, 64);
                    _tile_stored(5, sum + TILE * 5 / 2, 64);
                }
            }
        }
    }
}

}  // namespace

// What native.py finds by name: pointers to the functions, which keep their parameters in one place.
#define EXPORT(name, function) extern "C" const auto name = &function
EXPORT(pack_filters_bfloat16, pack_filters);
EXPORT(correlate_bfloat16, correlate);
EXPORT(filter_gradient_bfloat16, filter_gradient);
