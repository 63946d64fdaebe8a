/* The inner loops of scan.py, which documents the model and its arithmetic, and checks what these do not.
 *
 * All numbers are integers, and their order of summation cannot matter; right shifts of negative numbers
 * round down, as every compiler at hand does it, and NumPy.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../entropy/cumulative.h"

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { N = 32, AREA = 640, BLOCK = 8, EXPERTS = 4, SUMS = 7, FINAL = 4, LANES = 8, PAD = 8, FEW = 6 };
enum { SCALES = 16, CENTRES = 3, PARTS = SCALES * CENTRES, FAR = 2048, CONTEXTS = 256, LEVELS = 31, BIASES = 704 };
enum { FADE_SHIFT = 3, REACH = 2, FLOOR = 256, RATE = 4 };

typedef struct { int plane, dy, dx; } Tap;
static const Tap OWN[] = {{0, -1, 0}, {0, -1, 1}, {0, -1, -1}, {0, 0, -2}, {0, -2, 0}, {0, -1, -2}, {0, -1, 2}, {0, -2, -1},
    {0, -2, 1}, {0, 0, -3}, {0, -2, 2}, {0, -2, -2}, {0, -3, 0}, {0, -1, 3}, {0, -1, -3}, {0, -3, 1}, {0, -3, -1}, {0, -2, 3}};
static const Tap ACROSS[] = {{0, 0, 0}, {0, 0, 1}, {0, 0, -2}, {0, 1, 0}, {0, -1, 0}, {0, 1, -1}, {0, 1, 1}, {0, -1, 1},
    {0, -1, -1}};
static const int OWN_TAPS[3] = {18, 14, 12}, ACROSS_TAPS = 9;
/* of sums 0 to 2: how fast they fade, how many blocks to each side count */
static const int FADE[3] = {2, 5, 2}, SIDE[3] = {1, 2, 2};
static const int NEAR[8][3] = {{0, -1, 4}, {-1, 0, 4}, {-1, 1, 2}, {-1, -1, 2}, {0, -2, 2}, {-2, 0, 2}, {-1, 2, 1}, {-1, -2, 1}};
static const int AROUND[10][3] = {{0, -1, 20}, {-1, 0, 20}, {-1, 1, 12}, {-1, -1, 12}, {0, -2, 10}, {-2, 0, 10}, {-1, 2, 6},
    {-1, -2, 6}, {-2, 1, 5}, {-2, -1, 5}};

/* table (2 FAR + 1, SCALES), gates (3, CONTEXTS, PARTS), levels (LEVELS), start (3, N, N + 1) */
typedef struct { const int32_t *table, *gates; const int64_t *levels, *start; } Model;
typedef struct { int64_t *gates, *moments; } Counts;            /* what learning counts, or NULL */

INLINE int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

INLINE int row_at(int i)                                        /* rows of a lower triangle, in whole eights */
{
    const int g = i / 8;
    return 32 * g * (g + 1) + i % 8 * 8 * (g + 1);
}

/* ---- least squares --------------------------------------------------------------------------- */

/* w (N): weights, 2^16 for 1, of the n first taps; sums (AREA) and their right side (N). L D L' in fixed point. */
INLINE void solve(const int64_t *sums, const int64_t *right, int n, int32_t *w)
{
    int64_t v[N][N], L[N][N], z[N], x[N], inverse[N], most = 1;
    for (int i = 0; i < n; i++) {
        const int64_t own = sums[row_at(i) + i];
        most = own > most ? own : most;
    }
    int down = 0, up = 0;
    while (most >> down >= (int64_t)1 << 30) down++;
    while (most << up < (int64_t)1 << 29) up++;
    const int64_t ridge = ((most << up) >> down) >> 14;
    for (int j = 0; j < n; j++) {
        int64_t sum[N] = {0};
        for (int k = 0; k < j; k++) {
            const int64_t by = L[k][j];
            for (int i = j; i < n; i++) sum[i] += v[k][i] * by;
        }
        for (int i = j; i < n; i++) {
            const int64_t a = (sums[row_at(i) + j] * ((int64_t)1 << up)) >> down;
            v[j][i] = clamp(a - (sum[i] >> 16), -((int64_t)1 << 31), (int64_t)1 << 31);
        }
        const int64_t own = (sums[row_at(j) + j] << up) >> down;
        v[j][j] = clamp(own + (own >> 8) + ridge - (sum[j] >> 16), (int64_t)1 << 14, (int64_t)1 << 31);
        inverse[j] = ((int64_t)1 << 46) / v[j][j];
        for (int i = j + 1; i < n; i++)
            L[j][i] = clamp((v[j][i] * inverse[j]) >> 30, -((int64_t)1 << 24), (int64_t)1 << 24);
    }
    for (int i = 0; i < n; i++) {
        int64_t sum = 0;
        for (int k = 0; k < i; k++) sum += (L[k][i] * z[k]) >> 16;
        z[i] = clamp(((right[i] * ((int64_t)1 << up)) >> down) - sum, -((int64_t)1 << 36), (int64_t)1 << 36);
    }
    for (int i = n - 1; i >= 0; i--) {
        int64_t sum = 0;
        for (int k = i + 1; k < n; k++) sum += L[i][k] * x[k];
        x[i] = clamp((((z[i] >> 6) * inverse[i]) >> 24) - (sum >> 16), -((int64_t)1 << 22), (int64_t)1 << 22);
    }
    for (int i = 0; i < N; i++) w[i] = i < n ? (int32_t)x[i] : 0;
}

/* ---- a plane --------------------------------------------------------------------------------- */

typedef struct {
    int height, width, blocks;
    int64_t stride;
    int32_t *plane[3], *error[3];   /* padded by PAD on all sides; errors have LANES a pixel */
    int64_t *sums, *right;          /* (SUMS, blocks, AREA) and (SUMS, blocks, N) */
    int32_t gate[CONTEXTS][PARTS];
    int64_t bias[BIASES], biased[BIASES];
} Scan;

INLINE int64_t place(const Scan *s, int y, int x)
{
    return (y + PAD) * s->stride + x + PAD;
}

INLINE int32_t mixed(const int32_t *table, const int32_t *weight, const int32_t *centre, int at)
{
    int32_t sum = 0;
    for (int q = 0; q < CENTRES; q++) {
        const int32_t *row = table + (int64_t)(at - centre[q] + FAR) * SCALES, *w = weight + q * SCALES;
        for (int k = 0; k < SCALES; k++) sum += w[k] * row[k];
    }
    return sum;
}

/* One value under the mixture: written, or read. Returns whether a code was none. */
INLINE int code(Coder *c, const Model *m, int32_t *gate, const int32_t *centre, int low, int high, int *value,
                int64_t *counted, const int reading)
{
    int32_t weight[PARTS];
    for (int k = 0; k < PARTS; k++) weight[k] = (gate[k] >> 8) + 1;
    const int32_t *table = m->table;
    const int32_t first = mixed(table, weight, centre, 8 * low - 4);
    const uint32_t total = (uint32_t)(mixed(table, weight, centre, 8 * high + 4) - first + FLOOR * (high + 1 - low));
    uint32_t start, end;
#define BELOW(at) ((uint32_t)(mixed(table, weight, centre, 8 * (at) - 4) - first + FLOOR * ((at) - low)))
    if (!reading) {
        start = BELOW(*value);
        end = BELOW(*value + 1);
        write_interval(c, start, end - start, total);
    } else {
        const uint64_t unit = c->range / total, wanted = c->low / unit;
        if (wanted >= total) return 1;
        int least = low, beyond = high + 1, step = 1;
        int probe = (int)clamp((centre[0] + 4) >> 3, low, high);
        start = 0, end = total;
        while (beyond - least > 1) {                            /* outwards from the centre, then by halves */
            if (probe <= least) probe = least + 1;
            if (probe >= beyond) probe = beyond - 1;
            const uint32_t here = BELOW(probe);
            if (here <= wanted) {
                least = probe, start = here;
                probe = beyond == high + 1 ? probe + step : (least + beyond) / 2;
            } else {
                beyond = probe, end = here;
                probe = least == low ? probe - step : (least + beyond) / 2;
            }
            step *= 2;
        }
        *value = least;
        read_interval(c, unit, start, end - start);
    }
    /* the gate moves towards what the value says */
    int64_t seen[PARTS], sum = 0;
    for (int q = 0; q < CENTRES; q++) {
        const int32_t *row = table + (int64_t)(8 * *value - 4 - centre[q] + FAR) * SCALES;
        for (int k = 0; k < SCALES; k++) {
            seen[q * SCALES + k] = (int64_t)weight[q * SCALES + k] * (row[k + 8 * SCALES] - row[k]);
            sum += seen[q * SCALES + k];
        }
    }
    if (!sum) return 0;
    const int64_t inverse = ((int64_t)1 << 47) / sum;
    for (int k = 0; k < PARTS; k++) {
        const int64_t share = (seen[k] * inverse) >> 25;
        gate[k] += (int32_t)((share - gate[k]) >> RATE);
        if (counted) counted[k] += share;
    }
    return 0;
}

/* Rows beyond the edges: what the row above ends in, and half of the range, or nothing, above the first. */
static void edges(const Scan *s, int p, int y)
{
    int32_t *row = s->plane[p] + place(s, y, 0);
    const int32_t *above = row - s->stride;
    for (int k = 1; k <= PAD; k++) {
        row[-k] = above[0];
        row[s->width - 1 + k] = above[s->width - 1];
    }
}

INLINE int scan_plane(Scan *s, const Model *m, Coder *c, int p, uint8_t *samples, const Counts *counts,
                      const int reading)
{
    const int own = OWN_TAPS[p], n = own + p * ACROSS_TAPS, blocks = s->blocks, width = s->width;
    const int area = row_at((n + 7) / 8 * 8), size = s->height * width;
    int64_t offset[N];
    const int32_t *source[N];
    for (int i = 0; i < n; i++) {
        const Tap *tap = i < own ? OWN + i : ACROSS + (i - own) % ACROSS_TAPS;
        source[i] = s->plane[i < own ? p : (i - own) / ACROSS_TAPS];
        offset[i] = tap->dy * s->stride + tap->dx;
    }
    for (int64_t at = 0; at < (int64_t)SUMS * blocks; at++)
        for (int i = 0; i < n; i++) {
            const int64_t *row = m->start + ((int64_t)p * N + i) * (N + 1);
            for (int j = 0; j <= i; j++) s->sums[at * AREA + row_at(i) + j] = row[j];
            s->right[at * N + i] = row[N];
        }
    memcpy(s->gate, m->gates + (int64_t)p * CONTEXTS * PARTS, sizeof s->gate);
    memset(s->bias, 0, sizeof s->bias);
    memset(s->biased, 0, sizeof s->biased);
    for (int64_t k = 0; k < PAD * s->stride; k++) s->plane[p][k] = p ? 0 : 128;
    for (int y = 0; y < s->height; y++) {
        edges(s, p, y);
        for (int b = 0; b < blocks; b++) {
            int32_t w[EXPERTS + 1][N];
            for (int l = 0; l < EXPERTS + 1; l++) {
                const int side = l < 3 ? SIDE[l] : REACH, which = l < 3 ? l : 3 + (y & 1) * 2 + l - 3;
                int64_t sums[AREA] = {0}, right[N] = {0};
                for (int q = b - side < 0 ? 0 : b - side; q <= b + side && q < blocks; q++) {
                    const int64_t *from = s->sums + ((int64_t)which * blocks + q) * AREA;
                    for (int k = 0; k < area; k++) sums[k] += from[k];
                    for (int i = 0; i < N; i++) right[i] += s->right[((int64_t)which * blocks + q) * N + i];
                }
                solve(sums, right, l == 2 ? FEW : n, w[l]);
            }
            int32_t now[2][AREA] = {{0}}, now_right[2][N] = {{0}};
            for (int x = b * BLOCK; x < width && x < (b + 1) * BLOCK; x++) {
                const int64_t here = place(s, y, x);
                int32_t *ours = s->plane[p] + here, *errors = s->error[p] + here * LANES, X[N] = {0};
                const int low = p ? -s->plane[0][here] : 0, high = low + 255, base = ours[-1];
                for (int i = 0; i < n; i++)
                    X[i] = (int32_t)clamp(source[i][here + offset[i]] - source[i][here - 1], -511, 511);
                int32_t guess[EXPERTS];
                for (int l = 0; l < EXPERTS; l++) {
                    const int32_t *by = w[l < 3 ? l : 3 + (x & 1)];
                    int64_t sum = 0;
                    for (int i = 0; i < N; i++) sum += (int64_t)by[i] * X[i];
                    guess[l] = (int32_t)clamp(8 * base + (sum >> 13), 8 * low, 8 * high);
                }
                /* experts by how they fared around here */
                int64_t missed[EXPERTS] = {64, 64, 64, 64}, least = INT64_MAX, top = 0, all = 0;
                for (int k = 0; k < 8; k++) {
                    const int32_t *e = errors + (NEAR[k][0] * s->stride + NEAR[k][1]) * LANES;
                    for (int l = 0; l < EXPERTS; l++) missed[l] += (int64_t)e[l] * e[l] * NEAR[k][2];
                }
                for (int l = 0; l < EXPERTS; l++) least = missed[l] < least ? missed[l] : least;
                for (int l = 0; l < EXPERTS; l++) {
                    const int64_t trust = (least << 12) / missed[l];
                    top += trust * trust * (guess[l] + 4096);
                    all += trust * trust;
                }
                int64_t middle = top / all - 4096, unrest = 0, apart = 0;
                for (int k = 0; k < 10; k++)
                    unrest += llabs(errors[(AROUND[k][0] * s->stride + AROUND[k][1]) * LANES + FINAL]) * AROUND[k][2];
                for (int l = 0; l < EXPERTS; l++) apart += llabs(guess[l] - middle);
                unrest += 21 * apart;
                int level = 0;
                while (level < LEVELS && unrest >= m->levels[level]) level++;
                const int64_t west = ours[-1], north = ours[-s->stride], corner = ours[-s->stride - 1];
                int context = level * 8 + (848 * (llabs(west - corner) + llabs(north - corner)) > unrest + 1696);
                if (p) {
                    int64_t before = llabs(s->error[0][here * LANES + FINAL]);
                    if (p > 1) before = ((before * 13) >> 6) + llabs(s->error[1][here * LANES + FINAL]);
                    context += 2 * ((before >= 5) + (before >= 12) + (before >= 30));
                }
                const int slant = level / 3 * 64 + (8 * west > middle) + 2 * (8 * north > middle)
                    + 4 * (8 * ours[1 - s->stride] > middle) + 8 * (8 * corner > middle)
                    + 16 * (errors[FINAL - LANES] > 0) + 32 * (errors[FINAL - s->stride * LANES] > 0);
                const int64_t wrong = s->bias[slant], known = s->biased[slant] + 8;
                const int64_t mean = wrong < 0 ? -(-wrong / known) : wrong / known;
                const int32_t best = (int32_t)clamp(middle + mean, 8 * low, 8 * high);
                const int32_t centre[CENTRES] = {best, guess[3], guess[0]};
                uint8_t *sample = samples + (int64_t)p * size + (int64_t)y * width + x;
                int value = reading ? 0 : *sample + (p ? low : 0);
                if (code(c, m, s->gate[context], centre, low, high, &value,
                         counts ? counts->gates + ((int64_t)p * CONTEXTS + context) * PARTS : NULL, reading)) return 1;
                *ours = value;
                if (reading) *sample = (uint8_t)(value - (p ? low : 0));
                for (int l = 0; l < EXPERTS; l++) errors[l] = 8 * value - guess[l];
                errors[FINAL] = 8 * value - best;
                s->bias[slant] += 8 * value - middle;
                if (++s->biased[slant] > 64) s->bias[slant] >>= 1, s->biased[slant] >>= 1;
                const int64_t quiet = unrest * unrest + 7191040;
                const int32_t worth = (int32_t)clamp((230113280 + quiet / 2) / quiet, 1, 32), target = value - base;
                int32_t *sums = now[x & 1];
                for (int i = 0; i < n; i++) {
                    const int32_t by = X[i] * worth;
                    int32_t *to = sums + row_at(i);
                    for (int g = 0; g <= i / 8; g++)
                        for (int j = 0; j < 8; j++) to[8 * g + j] += by * X[8 * g + j];
                    now_right[x & 1][i] += by * target;
                }
            }
            for (int l = 0; l < SUMS; l++) {
                if (l >= 3 && (l - 3) / 2 != (y & 1)) continue;
                const int fade = l < 3 ? FADE[l] : FADE_SHIFT, even = l < 3 || l % 2, odd = l < 3 || l % 2 == 0;
                int64_t *sums = s->sums + ((int64_t)l * blocks + b) * AREA, *right = s->right + ((int64_t)l * blocks + b) * N;
                for (int k = 0; k < area; k++)
                    sums[k] += 64 * ((int64_t)now[0][k] * even + (int64_t)now[1][k] * odd) - (sums[k] >> fade);
                for (int i = 0; i < N; i++)
                    right[i] += 64 * ((int64_t)now_right[0][i] * even + (int64_t)now_right[1][i] * odd) - (right[i] >> fade);
            }
            if (counts)
                for (int i = 0; i < n; i++) {
                    int64_t *row = counts->moments + ((int64_t)p * N + i) * (N + 1);
                    for (int j = 0; j <= i; j++) row[j] += (int64_t)now[0][row_at(i) + j] + now[1][row_at(i) + j];
                    row[N] += (int64_t)now_right[0][i] + now_right[1][i];
                }
        }
    }
    for (int k = 0; k < 2; k++) {                               /* other planes look a row ahead */
        edges(s, p, s->height + k);
        memcpy(s->plane[p] + place(s, s->height + k, 0), s->plane[p] + place(s, s->height - 1, 0), 4 * width);
    }
    return 0;
}

CLONES static int plane_in(Scan *s, const Model *m, Coder *c, int p, uint8_t *x) { return scan_plane(s, m, c, p, x, NULL, 1); }
CLONES static int plane_out(Scan *s, const Model *m, Coder *c, int p, uint8_t *x, const Counts *n)
{ return scan_plane(s, m, c, p, x, n, 0); }

/* samples (channels, height, width): written to a coder, or read. Returns 0, 1 for a code that is none, -1 without memory. */
static int scan(const Model *m, Coder *c, uint8_t *samples, int channels, int height, int width, const Counts *counts,
                int reading)
{
    Scan *s = calloc(1, sizeof *s);
    if (!s) return -1;
    s->height = height, s->width = width, s->blocks = (width + BLOCK - 1) / BLOCK, s->stride = width + 2 * PAD;
    const int64_t padded = (int64_t)(height + 2 * PAD) * s->stride;
    int bad = 0;
    for (int p = 0; p < channels; p++) {
        s->plane[p] = calloc(padded, 4);
        s->error[p] = calloc(padded * LANES, 4);
        if (!s->plane[p] || !s->error[p]) bad = -1;
    }
    s->sums = calloc((int64_t)SUMS * s->blocks * AREA, 8);
    s->right = calloc((int64_t)SUMS * s->blocks * N, 8);
    if (!s->sums || !s->right) bad = -1;
    for (int p = 0; !bad && p < channels; p++)
        bad = reading ? plane_in(s, m, c, p, samples) : plane_out(s, m, c, p, samples, counts);
    for (int p = 0; p < channels; p++) free(s->plane[p]), free(s->error[p]);
    free(s->sums), free(s->right), free(s);
    return bad;
}

/* ---- Python's side ---------------------------------------------------------------------------- */

static int fits(const Py_buffer *b, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width, Py_ssize_t samples, Model *m)
{
    *m = (Model){b[0].buf, b[1].buf, b[2].buf, b[3].buf};
    return b[0].len == 4 * (2 * FAR + 1) * SCALES && b[1].len == 4 * 3 * CONTEXTS * PARTS && b[2].len == 8 * LEVELS
        && b[3].len == 8 * 3 * N * (N + 1) && (channels == 1 || channels == 3) && height > 0 && width > 0
        && height <= 1 << 24 && width <= 1 << 24 && samples == channels * height * width;
}

static PyObject *refuse(Py_buffer *b, int n)
{
    for (int k = 0; k < n; k++) PyBuffer_Release(&b[k]);
    PyErr_SetString(PyExc_ValueError, "buffers do not fit together");
    return NULL;
}

/* encode(table, gates, levels, start, samples, channels, height, width, counted, moments) -> bytes
 * green first, then red and blue; counted (3, CONTEXTS, PARTS) and moments (3, N, N + 1), int64, are added to, or empty */
static PyObject *py_encode(PyObject *self, PyObject *args)
{
    Py_buffer b[7];
    Py_ssize_t channels, height, width;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*nnnw*w*", &b[0], &b[1], &b[2], &b[3], &b[4], &channels, &height, &width, &b[5],
                          &b[6])) return NULL;
    Model m;
    const int learning = b[5].len > 0;
    if (!fits(b, channels, height, width, b[4].len, &m)
        || (learning && (b[5].len != 8 * 3 * CONTEXTS * PARTS || b[6].len != 8 * 3 * N * (N + 1)))) return refuse(b, 7);
    const Counts counts = {b[5].buf, b[6].buf};
    const Py_ssize_t room = b[4].len * 4 + 16;
    uint8_t *bytes = malloc(room);
    Coder c;
    int bad = -1;
    if (bytes) {
        Py_BEGIN_ALLOW_THREADS
        open_writing(&c, bytes, bytes + room);
        bad = scan(&m, &c, b[4].buf, (int)channels, (int)height, (int)width, learning ? &counts : NULL, 0);
        if (!bad) write_end(&c);
        Py_END_ALLOW_THREADS
    }
    PyObject *made = bad ? PyErr_NoMemory() : PyBytes_FromStringAndSize((char *)bytes, c.at - bytes);
    free(bytes);
    for (int k = 0; k < 7; k++) PyBuffer_Release(&b[k]);
    return made;
}

/* decode(table, gates, levels, start, data, samples, channels, height, width) -> whether it was a stream */
static PyObject *py_decode(PyObject *self, PyObject *args)
{
    Py_buffer b[6];
    Py_ssize_t channels, height, width;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*w*nnn", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &channels, &height, &width))
        return NULL;
    Model m;
    if (!fits(b, channels, height, width, b[5].len, &m)) return refuse(b, 6);
    Coder c;
    int bad;
    Py_BEGIN_ALLOW_THREADS
    bad = !open_reading(&c, b[4].buf, (uint8_t *)b[4].buf + b[4].len);
    if (!bad) bad = scan(&m, &c, b[5].buf, (int)channels, (int)height, (int)width, NULL, 1);
    if (!bad) bad = !ended(&c);
    Py_END_ALLOW_THREADS
    for (int k = 0; k < 6; k++) PyBuffer_Release(&b[k]);
    return bad < 0 ? PyErr_NoMemory() : PyBool_FromLong(!bad);
}

static PyMethodDef methods[] = {
    {"encode", py_encode, METH_VARARGS, NULL},
    {"decode", py_decode, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_scan", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__scan(void) { return PyModuleDef_Init(&module); }
