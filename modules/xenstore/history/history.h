/*
 * The part of the module that answers History.get_xenstore_changes, _tree and _bounds: on a worker,
 * from the journal's files. The flags are told in xenstore.h.
 */
#ifndef XN_XENSTORE_PAST_HISTORY_H
#define XN_XENSTORE_PAST_HISTORY_H

#include "core/module.h"

struct past_service;
struct xn_xs_media;

struct past_service *past_service_new(struct xn_core *core);
/* From now on there is a history to ask. @media: the journal's, which lives longer. */
void past_service_start(struct past_service *service, struct xn_xs_media *media);
void past_service_free(struct past_service *service); /* before the journal is closed */

/* Answer from the module's state, by past_service_of(). */
extern const struct xn_method_impl past_methods[];
struct past_service *past_service_of(void *module_state); /* xenstore.c */

/* Where the journal keeps its files; the caller frees. */
char *past_folder(const struct xn_config *config);
uint64_t past_size_limit(const struct xn_config *config);

#endif
