// 3x3 convolutions of bfloat16 images, channels last, with zeros around them, by a processor's matrix units (AMX).
// These multiply tiles of 16 rows of 64 bytes: the product of two is added to a third.
//
// Here the rows of a tile, or the values in them, are one pixel of 16 or 32 images. So tiles are full whatever side an
// image has, and the products with the zeros around it are left out. Images are copied into that order a few rows of
// pixels at a time, which then stay in a core's cache. Compiled and called by native.py.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "tiles.hpp"

namespace {

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

// Up to three pixels of a row, next to each other, of 16 images, for 32 outputs: computed, then written image by image
// while the next are computed.
struct Pixels {
    alignas(64) float sums[3][2][16][16];  // pixels, halves of the outputs, images, outputs
    uint16_t *to;                          // the first pixel of the first image
    int64_t count = 0, written = 16;

    void write(int64_t images, int64_t present, int64_t of_image, int64_t outputs, __mmask32 inside) {
        for (; images > 0 && written < present; images--, written++) {
            for (int64_t pixel = 0; pixel < count; pixel++) {
                const __m512 first = _mm512_load_ps(sums[pixel][0][written]);
                const __m512 second = _mm512_load_ps(sums[pixel][1][written]);
                const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
                uint16_t *at = to + written * of_image + pixel * outputs;
                if (outputs % 32 == 0) {
                    _mm512_stream_si512(reinterpret_cast<__m512i *>(at), both);  // past the caches, too small for all
                } else {
                    _mm512_mask_storeu_epi16(at, inside, both);
                }
            }
        }
    }
};

// Add the products of up to five pixels next to each other, x, and a row of filters, 32 inputs of both, to the sums of
// the three in their middle. The first of the three is pixel `column` of `width`, and so many of them are there.
inline void add_products(const uint16_t *x, const uint16_t *filters, int64_t column, int64_t width, int64_t count) {
#define ADD(pixel, sums, more_sums)                                \
    if (pixel < count && pixel <= i && i < pixel + 3) {            \
        const uint16_t *filter = filters + (i - pixel) * 2 * TILE; \
        _tile_loadd(7, filter, 64);                                \
        _tile_dpbf16ps(sums, 6, 7);                                \
        _tile_loadd(7, filter + TILE, 64);                         \
        _tile_dpbf16ps(more_sums, 6, 7);                           \
    }
#pragma GCC unroll 5
    for (int64_t i = 0; i < 5; i++) {
        if (i >= count + 2 || column + i < 1 || column + i > width) continue;
        _tile_loadd(6, x + i * TILE, 64);
        ADD(0, 0, 1)
        ADD(1, 2, 3)
        ADD(2, 4, 5)
    }
#undef ADD
}

// 32 outputs, `block` of them, for rows `top` to `bottom` of 16 images, whose rows from `first` on are in tiles.
void correlate_rows(const Images &y, int64_t image, int64_t block, int64_t top, int64_t bottom, const uint16_t *x,
                    int64_t first, int64_t depth, const uint16_t *filters) {
    const __mmask32 inside = first_of_block(y.channels - 32 * block);
    const int64_t present = std::min(int64_t(16), y.count - image);
    Pixels pixels[2], *now = &pixels[0], *before = &pixels[1];
    for (int64_t row = top; row < bottom; row++) {
        const int64_t above = row > 0 ? 0 : depth, below = row + 1 < y.height ? 3 * depth : 2 * depth;
        const int64_t meanwhile = 15 / (below - above) + 1;
        for (int64_t column = 0; column < y.width; column += now->count, std::swap(now, before)) {
            const int64_t left = y.width - column;
            now->count = left == 4 ? 2 : std::min(left, int64_t(3));  // the last four are two and two
            zero_sums();
            for (int64_t part = above; part < below; part++) {  // three rows of pixels, 32 inputs of each at a time
                const uint16_t *pixel = x + (((row - 1 - first) * depth + part) * y.width + column - 1) * TILE;
                add_products(pixel, filters + (3 * block * depth + part) * 6 * TILE, column, y.width, now->count);
                before->write(meanwhile, present, y.size(), y.channels, inside);
            }
            store_sums(now->sums[0][0][0]);
            now->to = y.values + image * y.size() + (row * y.width + column) * y.channels + 32 * block;
            now->written = 0;
        }
    }
    before->write(16, present, y.size(), y.channels, inside);
}

// Images [n, h, w, i] and filters as tiles to [n, h, w, o].
void correlate(uint16_t *x, const uint16_t *filters, uint16_t *y, int64_t images, int64_t height, int64_t width,
               int64_t inputs, int64_t outputs, int64_t threads) {
    const Images from = {x, images, height, width, inputs}, to = {y, images, height, width, outputs};
    const int64_t depth = blocks(inputs);
    const int64_t at_once = std::clamp(CACHE / (width * depth * TILE * 2) - 2, int64_t(1), height);
#pragma omp parallel num_threads(threads)
    {
        const Tiles tiles;
        const Scratch packed = tiles_for((at_once + 2) * width * depth);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < images; image += 16) {
            for (int64_t top = 0; top < height; top += at_once) {
                const int64_t bottom = std::min(top + at_once, height);
                const int64_t first = std::max(top - 1, int64_t(0)), last = std::min(bottom + 1, height);
                from.pack(image, first, last, packed.get(), TILE, ByImage());
                for (int64_t block = 0; block < blocks(outputs); block++) {
                    correlate_rows(to, image, block, top, bottom, packed.get(), first, depth, filters);
                }
            }
        }
        _mm_sfence();
    }
}

// Add the products of a row of pixels of 32 images, x of 16 inputs and y of 32 outputs, to the sums of a filter's row.
// Meanwhile ask for so many lines of memory at `next` for each pixel.
inline void add_row(const uint16_t *x, const uint16_t *y, int64_t width, const float *&next, int64_t lines) {
    for (int64_t column = 0; column < width; column++, x += 2 * TILE, y += 2 * TILE) {
        for (int64_t line = 0; line < lines; line++, next += 16) _mm_prefetch(next, _MM_HINT_T0);
        _tile_loadd(6, x, 64);
        if (column + 1 < width) {
            _tile_loadd(7, y + 2 * TILE, 64);
            _tile_dpbf16ps(0, 6, 7);
            _tile_loadd(7, y + 3 * TILE, 64);
            _tile_dpbf16ps(1, 6, 7);
        }
        _tile_loadd(7, y, 64);
        _tile_dpbf16ps(2, 6, 7);
        _tile_loadd(7, y + TILE, 64);
        _tile_dpbf16ps(3, 6, 7);
        if (column > 0) {
            _tile_loadd(7, y - 2 * TILE, 64);
            _tile_dpbf16ps(4, 6, 7);
            _tile_loadd(7, y - TILE, 64);
            _tile_dpbf16ps(5, 6, 7);
        }
    }
}

// Images [n, h, w, i] and the gradient of the output [n, h, w, o] to sums [threads, 3 rows, i / 16, o / 32, 3 columns,
// 2, 16 inputs, 16 outputs], of as many threads as there are groups of 32 images at most.
void filter_gradient(uint16_t *x, uint16_t *grad_y, float *sums, int64_t images, int64_t height, int64_t width,
                     int64_t inputs, int64_t outputs, int64_t threads) {
    const Images from = {x, images, height, width, inputs}, to = {grad_y, images, height, width, outputs};
    const int64_t x_tiles = 2 * blocks(inputs), y_blocks = blocks(outputs), y_tiles = 2 * y_blocks;
    const int64_t fitting = (CACHE / (width * TILE * 2) - 2 * x_tiles) / (x_tiles + y_tiles);
    const int64_t at_once = std::clamp(fitting, int64_t(1), height);
    const int64_t groups = (images + 31) / 32, size = 3 * x_tiles * y_blocks * SUMS;
    threads = std::min(threads, groups);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; thread++) {
        const Tiles tiles;
        const Scratch packed_x = tiles_for((at_once + 2) * width * x_tiles);
        const Scratch packed_y = tiles_for(at_once * width * y_tiles);
        float *total = sums + thread * size;
        std::fill_n(total, size, 0.0f);
        for (int64_t group = groups * thread / threads; group < groups * (thread + 1) / threads; group++) {
            for (int64_t top = 0; top < height; top += at_once) {
                const int64_t bottom = std::min(top + at_once, height);
                const int64_t first = std::max(top - 1, int64_t(0)), last = std::min(bottom + 1, height);
                from.pack(32 * group, first, last, packed_x.get(), 2 * TILE, ByChannel());
                to.pack(32 * group, top, bottom, packed_y.get(), 2 * TILE, ByPair());
                const int64_t lines = SUMS / 16 / ((bottom - top) * width) + 1;
                float *sum = total;
                for (int64_t part = 0; part < 3 * x_tiles * y_blocks; part++, sum += SUMS) {
                    const int64_t shift = part / (x_tiles * y_blocks) - 1;
                    const int64_t input = part / y_blocks % x_tiles, block = part % y_blocks;
                    const float *next = sum + SUMS;
                    load_sums(sum);
                    for (int64_t row = std::max(top, -shift); row < std::min(bottom, height - shift); row++) {
                        const int64_t above = (row + shift - first) * x_tiles + input / 2 * 2;
                        const uint16_t *pixels = packed_x.get() + (above * width + input % 2) * TILE;
                        const uint16_t *grads = packed_y.get() + ((row - top) * y_blocks + block) * width * 2 * TILE;
                        add_row(pixels, grads, width, next, lines);
                    }
                    store_sums(sum);
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
