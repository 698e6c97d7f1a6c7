/* BatchNorm in C99 behind the protocol of PROTOCOL.md; requests are trusted, and the machine is little-endian.
 *     cc -O2 -std=c99 -o batchnorm batchnorm.c -lm && bnconform --backend-command ./batchnorm
 * Numbers are held as double, and rounded to the dtype that they have outside; sums are long double. */
#define _POSIX_C_SOURCE 200809L /* getline */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELLO ",\"protocol\":\"bnconform/1\",\"name\":\"batchnorm.c\",\"version\":\"1\",\"devices\":[\"cpu\"]," \
    "\"abilities\":[\"weight_alone\",\"bias_alone\"],\"deviations\":{},\"documented\":{}," \
    "\"unsupported\":{\"float16\":\"C99 lacks it\",\"bfloat16\":\"C99 lacks it\"}"
#define DEFAULTS "\"eps\":1e-5,\"momentum\":0.1,\"affine\":true,\"track_running_stats\":true,\"ndim\":4," \
    "\"dtype\":\"float32\",\"param_dtype\":\"float32\""
#define REFUSE(kind, why) printf(",\"error\":{\"kind\":\"" kind "\",\"message\":\"" why "\"}")
enum { FLOAT32, FLOAT64, INT64, OTHER };
static const char *const DTYPES[] = {"\"float32\"", "\"float64\"", "\"int64\"", ""};
enum { MEAN, VAR, COUNT, WEIGHT, BIAS, STATE, GRAD_WEIGHT = STATE, GRAD_BIAS, ENTRIES };
static const char *const NAMES[] = {
    "running_mean", "running_var", "num_batches_tracked", "weight", "bias", "grad_weight", "grad_bias"};
static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
typedef union { float single; double wide; long long whole; unsigned char byte[8]; } Number;
typedef struct { int dtype, rank, absent; long shape[8], size, inner; double *value; } Array; /* inner: past axis 1 */
typedef struct { long channels; int rank; double eps, momentum; Array entry[ENTRIES]; } Layer; /* NAN: momentum null */

/* The value of a key. A key is in a request once, but for those of arrays, which come after the array's own. */
static const char *get(const char *json, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(json, quoted);
    return found ? found + strlen(quoted) : "null";
}
static int is(const char *json, const char *text) { return !strncmp(json, text, strlen(text)); }
static int dtype_of(const char *json) { int d = 0; while (!is(json, DTYPES[d])) d++; return d; }
static double rounded(int dtype, double value) { return dtype == FLOAT32 ? (float)value : value; }
static Array array(int dtype, int rank, const long *shape, double fill) {
    Array a = {.dtype = dtype, .rank = rank, .size = 1, .inner = 1};
    for (int k = 0; k < rank; k++) { a.size *= a.shape[k] = shape[k]; if (k > 1) a.inner *= shape[k]; }
    a.value = malloc((a.size + 1) * sizeof *a.value);
    for (long i = 0; i < a.size; i++) a.value[i] = fill;
    return a;
}
static Array read_array(const char *json) {
    long shape[8], rank = 0;
    for (char *p = strchr(get(json, "shape"), '[') + 1; *p != ']' && rank < 8; p += *p == ',')
        shape[rank++] = strtol(p, &p, 10);
    Array a = array(dtype_of(get(json, "dtype")), (int)rank, shape, 0);
    unsigned held = 0, bits = 0, bytes = 0; Number number;
    json = get(json, "data") + 1;
    for (long i = 0; i < a.size && *json != '"'; json++) {
        held = held << 6 | (unsigned)(strchr(DIGITS, *json) - DIGITS);
        if ((bits += 6) < 8) continue;
        number.byte[bytes++ % 8] = held >> (bits -= 8) & 255;
        if (a.dtype == FLOAT32 && bytes == 4) a.value[i++] = number.single, bytes = 0;
        if (bytes == 8) a.value[i++] = a.dtype == INT64 ? (double)number.whole : number.wide, bytes = 0;
    }
    return a;
}
static void show(const char *name, const Array *a) {
    if (a->absent) { printf(",\"%s\":null", name); return; }
    printf(",\"%s\":{\"dtype\":%s,\"shape\":[", name, DTYPES[a->dtype]);
    for (int axis = 0; axis < a->rank; axis++) printf(axis ? ",%ld" : "%ld", a->shape[axis]);
    printf("],\"data\":\""); unsigned held = 0, bits = 0, digits = 0;
    for (long i = 0; i < a->size; i++) {
        Number number = {.wide = a->value[i]};
        if (a->dtype == FLOAT32) number.single = (float)a->value[i];
        if (a->dtype == INT64) number.whole = (long long)a->value[i];
        for (int k = 0; k < (a->dtype == FLOAT32 ? 4 : 8); k++) {
            held = held << 8 | number.byte[k];
            for (bits += 8; bits >= 6; digits++) putchar(DIGITS[held >> (bits -= 6) & 63]);
        }
    }
    if (bits) putchar(DIGITS[held << (6 - bits) & 63]), digits++;
    printf("%.*s\"}", (int)(-digits % 4), "===");
}
static void build(const char *request, const char *config) {
    int dtype = dtype_of(get(config, "param_dtype")); Layer *layer = malloc(sizeof *layer);
    layer->channels = atol(get(request, "num_features")), layer->rank = atoi(get(config, "ndim"));
    layer->eps = atof(get(config, "eps"));
    layer->momentum = is(get(config, "momentum"), "null") ? NAN : atof(get(config, "momentum"));
    for (int k = 0; k < ENTRIES; k++) {
        layer->entry[k] = array(k == COUNT ? INT64 : dtype, k != COUNT, &layer->channels, k == VAR || k == WEIGHT);
        const char *there = get(config, k < WEIGHT ? "track_running_stats" : "affine"); /* or the one that there is */
        layer->entry[k].absent = is(there, "false") || is(there, k % 2 ? "\"bias\"" : "\"weight\""); /* odd: weights */
    }
    if (dtype == OTHER || dtype_of(get(config, "dtype")) == OTHER) REFUSE("unsupported", "only float32 and float64");
    else printf(",\"layer\":\"%p\"", (void *)layer);
}
static void load(Layer *layer, const char *request) {
    for (int k = 0, fits = 1; fits && k < STATE; k++) {
        if (is(get(request, NAMES[k]), "null")) continue;
        Array given = read_array(get(request, NAMES[k])), *own = &layer->entry[k];
        fits = !own->absent && given.dtype == own->dtype && given.rank == own->rank && given.size == own->size;
        if (fits) memcpy(own->value, given.value, own->size * sizeof *own->value);
        else REFUSE("invalid", "an entry that this layer lacks, or has in another shape or dtype");
        free(given.value);
    }
}
#define EACH(k) for (long i = 0, k; i < n && (k = (i / x.inner * x.shape[1] + c) * x.inner + i % x.inner, 1); i++)
static void pass(Layer *layer, const char *request, int backward) {
    Array *e = layer->entry, x = read_array(get(request, "x")); /* becomes z, then y */
    Array g = read_array(get(request, backward ? "grad_output" : "x")); /* becomes grad_x */
    int training = is(get(request, "training"), "true"), from_batch = training || e[MEAN].absent;
    long n = x.size / layer->channels;
    if (x.rank != layer->rank || x.shape[1] != layer->channels) REFUSE("invalid", "wrong rank or channels");
    else if (memcmp(g.shape, x.shape, sizeof x.shape)) REFUSE("invalid", "grad_output has another shape than x");
    else if (from_batch && n == 1) REFUSE("invalid", "one value per channel has no variance");
    else {
        if (training && !backward) e[COUNT].value[0]++;
        for (long c = 0; c < layer->channels; c++) {
            long double sum = 0, squares = 0, by_bias = 0, by_weight = 0;
            EACH(k) sum += x.value[k];
            double mean = from_batch ? sum / n : e[MEAN].value[c];
            EACH(k) squares += pow(x.value[k] - mean, 2);
            double var = from_batch ? squares / n : e[VAR].value[c], inverse_std = 1 / sqrt(var + layer->eps);
            EACH(k) x.value[k] = (x.value[k] - mean) * inverse_std;
            EACH(k) by_bias += g.value[k], by_weight += g.value[k] * x.value[k];
            e[GRAD_BIAS].value[c] = by_bias, e[GRAD_WEIGHT].value[c] = by_weight;
            EACH(k) g.value[k] -= from_batch ? (by_bias + x.value[k] * by_weight) / n : 0; /* statistics move */
            double weight = e[WEIGHT].value[c], bias = e[BIAS].value[c];
            EACH(k) g.value[k] *= weight * inverse_std, x.value[k] = x.value[k] * weight + bias;
            if (backward || !training || !n) continue; /* an empty batch says nothing */
            double new = isnan(layer->momentum) ? 1 / e[COUNT].value[0] : layer->momentum;
            e[MEAN].value[c] = rounded(e[MEAN].dtype, (1 - new) * e[MEAN].value[c] + new * mean);
            e[VAR].value[c] = rounded(e[VAR].dtype, (1 - new) * e[VAR].value[c] + new * var * n / (n - 1));
        }
        show(backward ? "grad_x" : "y", backward ? &g : &x);
        for (int k = GRAD_WEIGHT; backward && k < ENTRIES; k++) show(NAMES[k], &e[k]);
    }
    free(x.value), free(g.value);
}
int main(void) {
    char *line = NULL;
    for (size_t room = 0; getline(&line, &room, stdin) > 0; puts("}"), fflush(stdout)) {
        const char *what = get(line, "do");
        Layer *layer = NULL;
        sscanf(get(line, "layer"), "\"%p", (void **)&layer);
        printf("{\"id\":%ld", atol(get(line, "id")));
        if (is(what, "\"hello\"")) printf(HELLO);
        else if (is(what, "\"build\"")) build(line, line);
        else if (is(what, "\"build_default\"")) build(line, DEFAULTS);
        else if (is(what, "\"forward\"")) pass(layer, line, 0);
        else if (is(what, "\"backward\"")) pass(layer, line, 1);
        else if (is(what, "\"load\"")) load(layer, line);
        else if (is(what, "\"state\"")) for (int k = 0; k < STATE; k++) show(NAMES[k], &layer->entry[k]);
        else if (is(what, "\"drop\"")) { for (int k = 0; k < ENTRIES; k++) free(layer->entry[k].value); free(layer); }
        else REFUSE("unsupported", "no such request");
    }
}
