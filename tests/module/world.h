/*
 * Everything there is, as lines of text that can be compared: rows, xenstore, domains, files,
 * what is reserved, held and active. For tests that say "the world is as it was".
 */
#ifndef XN_TEST_WORLD_H
#define XN_TEST_WORLD_H

#include "tests/unit/api_fixture.h"

struct world;
struct world *world_take(struct api *api);
void world_free(struct world *world);
/* The lines that only one of them has, "- " before and "+ " after. 0: the same. */
unsigned world_diff(const struct world *before, const struct world *after, struct xn_buf *out);

#endif
