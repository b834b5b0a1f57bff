/* What those who tell of a past have in common, the database's and the xenstore's: what they hide,
 * and for the flags parts of an answer for people, on stdout and stderr. */
#ifndef XN_PAST_H
#define XN_PAST_H

#include "core/value.h"

/* Of a map's key, a field, a node of the xenstore: whether its value sounds like a secret. */
bool xn_past_hides(const char *name, size_t len);
int64_t xn_past_now_us(void); /* the wall clock's, for a command that has no loop */
void xn_past_print_value(const struct xn_value *v); /* as JSON; NULL or nil: "-" */
/* When @answer (map with `complete`, `oldest`, `gaps`) is not all there was, says so on stderr. */
void xn_past_tell_limits(const struct xn_value *answer);

#endif
