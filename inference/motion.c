/* See motion.h. Of each cell at most SAMPLES by SAMPLES pixels are looked at: the mean of 64 is
 * steady enough, and a 4K picture then costs no more than a small one. */
#include "inference/motion.h"
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 8 };

/* Pixels [from, to) of a side that belong to a cell; at least one. */
static void cell_span(uint32_t cell, uint32_t cells, uint32_t side, uint32_t *from, uint32_t *to) {
    *from = (uint32_t)((uint64_t)cell * side / cells);
    *to = (uint32_t)((uint64_t)(cell + 1) * side / cells);
    if (*to == *from) {
        *to = *from + 1;
    }
}

static uint8_t cell_mean(const uint8_t *luma, size_t stride, uint32_t width, uint32_t height,
                         uint32_t row, uint32_t column) {
    uint32_t left, right, top, bottom, sum = 0, count = 0;
    cell_span(column, MOTION_COLUMNS, width, &left, &right);
    cell_span(row, MOTION_ROWS, height, &top, &bottom);
    uint32_t across = (right - left + SAMPLES - 1) / SAMPLES;
    uint32_t down = (bottom - top + SAMPLES - 1) / SAMPLES;
    for (uint32_t y = top; y < bottom; y += down) {
        for (uint32_t x = left; x < right; x += across) {
            sum += luma[(size_t)y * stride + x];
            count++;
        }
    }
    return (uint8_t)((sum + count / 2) / count);
}

bool motion_passes(struct motion *motion, const uint8_t *luma, size_t stride, uint32_t width,
                   uint32_t height, double threshold) {
    uint8_t cells[MOTION_ROWS][MOTION_COLUMNS];
    unsigned changed = 0;
    for (uint32_t row = 0; row < MOTION_ROWS; row++) {
        for (uint32_t column = 0; column < MOTION_COLUMNS; column++) {
            uint8_t mean = cell_mean(luma, stride, width, height, row, column);
            cells[row][column] = mean;
            changed += abs((int)mean - motion->cells[row][column]) > MOTION_STEP;
        }
    }
    if (motion->known && changed < threshold * (MOTION_ROWS * MOTION_COLUMNS)) {
        return false;
    }
    motion->known = true;
    memcpy(motion->cells, cells, sizeof(cells));
    return true;
}
