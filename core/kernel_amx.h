/* Private: kernels of fast training for CPUs with AMX (int8, bf16) and AVX-512 bf16: what
 * core/kernel_amx_*.c export. Call them only where bg_train_available(). One thread each; who calls
 * tile functions stands between bg_amx_tiles_begin and _end on that thread.
 *
 * A tile is 16 rows of 64 bytes. For a product of bf16 matrices summed over pixels, tile A holds 16
 * output channels x 32 pixels, tile B 16 pairs of pixels x 16 columns x the 2 pixels of the pair,
 * the sum tile 16 output channels x 16 columns of f32. Buffers hold whole tiles of 512 u16 (1 KB),
 * each aligned to 64 bytes: a tile load that straddles cache lines takes several times as long. */
#ifndef BG_CORE_KERNEL_AMX_H
#define BG_CORE_KERNEL_AMX_H

#include <stdbool.h>
#include <stdint.h>

#define BG_AMX_SIDE   16  /* rows of a tile; f32 columns */
#define BG_AMX_PIXELS 32  /* bf16 of a tile row */
#define BG_AMX_TILE   512 /* bf16 of a tile */
#define BG_AMX_SUMS   256 /* f32 of a tile */
#define BG_AMX_ITEMS  6   /* most sum tiles of one product for backward weights */

void bg_amx_tiles_begin(void);
void bg_amx_tiles_end(void);

/* B: for channel blocks `first` to `last` - 1, pairs (0,1), (2,3), ... of positions into `even` and
 * (1,2), (3,4), ... into `odd` (NULL: not wanted). Position q is pixel from[q] of src, or 0 where
 * that is negative; from[] has 2 * pairs + 1 entries. Values are code - zero_point, in channels
 * behind the last one any finite number. Blocks are block_step u16 apart. */
struct bg_amx_pairs {
    const uint8_t *src;
    const uint8_t *blank; /* zero_point for each channel */
    const int32_t *from;
    int64_t pairs, channels, first, last;
    int32_t zero_point;
    uint16_t *even, *odd;
    int64_t block_step;
};
void bg_amx_pair_pixels(const struct bg_amx_pairs *in);

/* y[i] = bf16(codes[i] - zero_point) */
void bg_amx_widen(const uint8_t *codes, int64_t n, int32_t zero_point, uint16_t *y);

/* B from few channels: column j of a pixel is at[pixel] + j of kernel row j / run (rows are
 * row_step u16 apart), that is, the taps of a kernel row and their channels are neighbours in the
 * padded image `padded`. Columns of block b go to pairs + b * block_step; behind the last pixel and
 * column stay what they are. In front of `padded` lie `columns` + 16 u16 that may be read. */
struct bg_amx_joined {
    const uint16_t *padded;
    const int32_t *at; /* [pixels] */
    int64_t pixels, run, row_step, columns;
    int64_t row; /* even: in rows of so many pixels at[] rises by 1; 0: anything else */
    uint16_t *pairs;
    int64_t block_step;
};
void bg_amx_join_taps(const struct bg_amx_joined *in);

/* A: for channel blocks `first` to `last` - 1, 16 channels of 32 * chunks positions. Position q is
 * pixel from[q] of dz, or 0 where that is negative. Blocks are block_step u16 apart. */
struct bg_amx_turn {
    const uint16_t *dz;
    const int32_t *from;
    int64_t chunks, channels, first, last;
    uint16_t *tiles;
    int64_t block_step;
};
void bg_amx_turn_pixels(const struct bg_amx_turn *in);

/* sums[i][o] += B_i x A_o over all units and chunks, for output blocks 0 to outputs - 1 (1 or 2)
 * and items 0 to items - 1 (2; with 1 output block 6). */
struct bg_amx_product {
    const uint16_t *a, *b;
    int64_t a_unit, b_unit;  /* u16 between two units */
    int64_t a_block;         /* u16 between two output blocks */
    const int64_t *b_offset; /* of each item */
    int64_t units, chunks;
    int outputs, items;
    bool fresh;  /* sums begin at 0 */
    float *sums; /* tiles, items are sums_step f32 apart, output blocks BG_AMX_SUMS */
    int64_t sums_step;
};
void bg_amx_multiply(const struct bg_amx_product *in);

/* One tile of sums to 16 columns of up to 16 rows of dw: y = (sum of the copies, in order) *
 * factor[row], or 0 where w at the same place is not in [low[row], high[row]]. Without factor
 * (NULL) 1, without w everything stays. Returns false when a y is not finite. */
struct bg_amx_put {
    const float *sums;
    int64_t copies, copy_step;
    int64_t rows, width, row_step;
    float *dw;
    const float *factor, *w, *low, *high;
};
bool bg_amx_put_sums(const struct bg_amx_put *in);

/* Convolution as a product: tile A holds 16 positions x 64 bytes of what an output reads at one
 * step (64 u8 codes or 32 bf16), tile B of the weights 16 groups of 4 bytes x 16 outputs, the sum
 * tile 16 positions x 16 outputs of s32 or f32. Positions lie 64 bytes apart, so 16 of them are a
 * tile wherever they start. */

/* A: the bytes of pixel from[q] of src, or of `blank` (64 bytes) where that is negative, in chunks
 * of 64 bytes that lie chunk_step bytes apart. What a last chunk has too many is 0. */
struct bg_amx_lay {
    const uint8_t *src, *blank;
    const int32_t *from;
    int64_t positions, pixel_bytes;
    uint8_t *to;
    int64_t chunk_step;
};
void bg_amx_lay_pixels(const struct bg_amx_lay *in);

/* A from few channels: each position is a run of neighbouring pixels, up to 64 bytes. Positions
 * come in rows of `pitch`; the run of a column begins at src + row_at[row] (negative: outside) +
 * column * pixel_step, and mask[column] has its bytes that lie inside; the same for all columns
 * from inner[0] to inner[1] - 1. Other bytes are those of `blank`. */
struct bg_amx_runs {
    const uint8_t *src, *blank;
    const int64_t *row_at;
    const uint64_t *mask;
    int64_t inner[2];
    int64_t positions, pitch, pixel_step;
    uint8_t *to;
};
void bg_amx_lay_runs(const struct bg_amx_runs *in);

/* dst[to[q]][o] = bf16(start[o] + sum over steps of A[q] x B[o]) for q below 16 * tiles with to[q]
 * >= 0, all threads' own memory but dst. start: outputs of the last block padded to 16. */
struct bg_amx_convolve {
    const uint8_t *a;
    const int64_t *a_offset; /* [steps] bytes */
    int64_t steps, tiles;
    const uint8_t *weights; /* tiles [output block][step] */
    const void *start;      /* s32 or f32 */
    int64_t first, last;    /* output blocks */
    int64_t outputs;        /* of a pixel of dst */
    const int32_t *to;
    uint16_t *dst;
    bool wide;    /* bf16, else u8 codes and s8 weights */
    bool add;     /* dst += */
    float factor; /* wide: sums are multiplied with it before they are added and rounded */
};
void bg_amx_convolve(const struct bg_amx_convolve *in);

/* The weights of up to 16 outputs (rows) of one block: dense codes, rows `step` apart, `columns` of
 * each. Codes: 4 neighbouring columns of all 16 rows are one line of 64 bytes, lines follow each
 * other. Pairs: rows 2 i and 2 i + 1 of 16 columns as bf16 are line i, the next 16 columns lie
 * tile_step bytes further. Lines are written whole: what is not there is 0. */
struct bg_amx_pack {
    const int8_t *codes;
    int64_t rows, step, columns;
    uint8_t *tiles;
    int64_t tile_step;
};
void bg_amx_pack_codes(const struct bg_amx_pack *in);
void bg_amx_pack_pairs(const struct bg_amx_pack *in);

/* sums[o] = sum over all steps of the s8 weights of output o, for 16 outputs. */
void bg_amx_sum_weights(const uint8_t *tiles, int64_t steps, int32_t *sums);

/* Depthwise, without tiles. One row of dst: dst[x][c] = sum over its taps of src[row + column + c]
 * * weights[row + column + c], in f32, where row runs over `row_count` places that the row reads,
 * column over columns start[x] to start[x + 1] - 1. */
struct bg_amx_tap {
    int64_t weight, source; /* values in front of the tap's first */
};
struct bg_amx_depthwise_row {
    const void *src; /* u8 codes, or bf16 */
    bool wide;       /* bf16 */
    bool add;        /* dst += */
    float factor;    /* wide: of the sums */
    int32_t zero_point;
    const struct bg_amx_tap *rows, *columns;
    int64_t row_count;
    const int64_t *start; /* [width + 1] */
    int64_t width, channels;
    const float *weights; /* [taps][channels padded to 16] */
    uint16_t *dst;
};
void bg_amx_depthwise(const struct bg_amx_depthwise_row *in);

/* One row of dz: sums[tap][c] += sum over x from first to last - 1 of (src[x * stride][c] -
 * zero_point) * dz[x][c]; src is the pixel that the tap reads at x = 0, which may not exist. */
struct bg_amx_depthwise_tap {
    const uint8_t *src;
    const uint16_t *dz;
    int32_t zero_point;
    int64_t first, last, stride, channels;
    float *sums;
};
void bg_amx_depthwise_weights(const struct bg_amx_depthwise_tap *in);

/* y = x as f32 */
void bg_amx_widen_s8(const int8_t *x, int64_t n, float *y);
void bg_amx_widen_bf16(const uint16_t *x, int64_t n, float *y);

#endif
