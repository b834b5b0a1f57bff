/* The candidate most like a word, for "did you mean". */
#include "rpc/xe/nearest.h"

#include <string.h>

static unsigned char folded(char letter)
{
	if (letter == '_')
		return '-';
	return letter >= 'A' && letter <= 'Z' ? (unsigned char)(letter + 32) : (unsigned char)letter;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* A row of the table: the distances of the first i letters of @a from each beginning of @b. Returns
 * the least of them. */
static unsigned fill_row(const char *a, size_t i, const char *b, size_t len, unsigned *row,
			 const unsigned *before, const unsigned *two_before)
{
	unsigned char letter = folded(a[i - 1]);
	unsigned lowest = row[0] = (unsigned)i;

	for (size_t j = 1; j <= len; j++) {
		unsigned char other = folded(b[j - 1]);

		row[j] = least(least(before[j], row[j - 1]) + 1, before[j - 1] + (letter != other));
		if (i > 1 && j > 1 && letter == folded(b[j - 2]) && folded(a[i - 2]) == other)
			row[j] = least(row[j], two_before[j - 2] + 1);
		lowest = least(lowest, row[j]);
	}
	return lowest;
}

unsigned xe_distance(const char *a, const char *b, unsigned limit)
{
	unsigned rows[3][XE_NEAREST_MAX + 1];
	size_t n = strnlen(a, XE_NEAREST_MAX + 1), len = strnlen(b, XE_NEAREST_MAX + 1);
	unsigned distance;

	if (n > XE_NEAREST_MAX || len > XE_NEAREST_MAX || (n > len ? n - len : len - n) > limit)
		return limit + 1;
	for (size_t j = 0; j <= len; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++)
		/* A swap reaches back two rows, but what it costs is in the row between too. */
		if (fill_row(a, i, b, len, rows[i % 3], rows[(i + 2) % 3], rows[(i + 1) % 3]) > limit)
			return limit + 1;
	distance = rows[n % 3][len];
	return distance > limit ? limit + 1 : distance;
}

void xe_nearest_begin(struct xe_nearest *nearest, const char *word)
{
	size_t len = strlen(word);

	/* A third of its letters may be wrong, three at most: else short words are like everything. */
	*nearest = (struct xe_nearest){.word = word, .limit = len < 3 ? 1 : least((unsigned)len / 3, 3)};
	nearest->distance = nearest->limit + 1;
}

void xe_nearest_offer(struct xe_nearest *nearest, const char *candidate)
{
	unsigned distance;

	if (!nearest->distance || !*candidate)
		return;
	distance = xe_distance(nearest->word, candidate, nearest->distance - 1);
	if (distance >= nearest->distance)
		return;
	nearest->distance = distance;
	memcpy(nearest->best, candidate, strlen(candidate) + 1);
}

const char *xe_nearest_best(const struct xe_nearest *nearest)
{
	return nearest->distance <= nearest->limit ? nearest->best : NULL;
}

const char *xe_nearest(const char *word, const char *const *candidates, unsigned n)
{
	struct xe_nearest nearest;
	const char *best = NULL;
	unsigned distance;

	xe_nearest_begin(&nearest, word);
	for (unsigned i = 0; i < n; i++) {
		distance = nearest.distance;
		xe_nearest_offer(&nearest, candidates[i]);
		if (nearest.distance < distance)
			best = candidates[i];
	}
	return best;
}
