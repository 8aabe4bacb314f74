// The tiles of a processor's matrix units (AMX), and images as such tiles.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

using std::int64_t;
using std::uint16_t;

namespace {

constexpr int64_t TILE = 512;           // bfloat16 values of a tile, which holds half as many of float32
constexpr int64_t SUMS = 6 * TILE / 2;  // float32 values of six tiles
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

// To be called between what writes this memory and what reads it, as GCC 12 does not know that of tiles' loads.
inline void settle(const void *memory) { asm volatile("" : : "r"(memory) : "memory"); }

// All eight tiles of this thread at their full size, for as long as this lives; then as PyTorch had them.
class Tiles {
  public:
    Tiles() {
        _tile_storeconfig(before_);
        settle(before_);
        alignas(64) unsigned char full[64] = {1};  // palette; from 16 on the bytes of a row, from 48 on the rows
        for (int tile = 0; tile < 8; tile++) {
            full[16 + 2 * tile] = 64;
            full[48 + tile] = 16;
        }
        settle(full);
        _tile_loadconfig(full);
    }
    ~Tiles() { before_[0] ? _tile_loadconfig(before_) : _tile_release(); }
    Tiles(const Tiles &) = delete;
    Tiles &operator=(const Tiles &) = delete;

  private:
    alignas(64) unsigned char before_[64];
};

// Tiles 0 to 5 hold sums, 6 and 7 what is multiplied.
inline void zero_sums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
}

inline void load_sums(const float *from) {
    _tile_loadd(0, from, 64);
    _tile_loadd(1, from + 256, 64);
    _tile_loadd(2, from + 512, 64);
    _tile_loadd(3, from + 768, 64);
    _tile_loadd(4, from + 1024, 64);
    _tile_loadd(5, from + 1280, 64);
}

inline void store_sums(float *to) {
    _tile_stored(0, to, 64);
    _tile_stored(1, to + 256, 64);
    _tile_stored(2, to + 512, 64);
    _tile_stored(3, to + 768, 64);
    _tile_stored(4, to + 1024, 64);
    _tile_stored(5, to + 1280, 64);
}

// --- images into tiles -----------------------------------------------------------------------------------------------

// A batch [n, h, w, c], of which some images next to each other are taken at a time.
struct Images {
    uint16_t *values;
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
        settle(tiles);
    }
};

// A tile of 16 images by 32 channels.
struct ByImage {
    template <class Load>
    void operator()(uint16_t *tile, Load load) const {
        for (int64_t image = 0; image < 16; image++) _mm512_store_si512(tile + 32 * image, load(image));
    }
};

// Two tiles, for 16 channels each, of 16 pairs of images by channels: the values of a pair are neighbours.
struct ByPair {
    template <class Load>
    void operator()(uint16_t *tiles, Load load) const {
        alignas(64) static constexpr uint16_t turns[32] = {
            0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
            8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47,
        };
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

}  // namespace
