/* Encoded values of the database as text, without making an xn_value of them. */
#ifndef XN_HISTORY_WRITER_H
#define XN_HISTORY_WRITER_H

#include "core/writer.h"
#include "modules/db/history.h"

/* An encoded value. -EBADMSG: what was written until then is no good. */
int history_put_bytes(struct xn_writer *w, const struct xn_slice *value) XN_MUST_CHECK;

#endif
