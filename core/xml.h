/*
 * XML-RPC text of values, as the XenAPI writes it: strings and integers bare, void an empty value.
 * Also the form of task.result. Parsing is in rpc/xmlrpc.c.
 */
#ifndef XN_XML_H
#define XN_XML_H

#include "core/value.h"

void xn_xml_write(const struct xn_value *v, struct xn_buf *out); /* <value>...</value> */
/* Escaped character data. CR is written &#13;, so that it survives the reader's line-end rule. */
void xn_xml_write_text(const char *s, size_t len, struct xn_buf *out);

#endif
