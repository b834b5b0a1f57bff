/*
 * The format of a database's folder, as a number in its file "format": "xenolith database 2".
 * Whoever finds a higher number than it knows refuses; a lower one is brought up to date (migrate.c).
 *
 *	1  the first
 *	2  the database itself holds its format, too, so that a backup or a journal alone tells it
 */
#ifndef XN_DB_FORMAT_H
#define XN_DB_FORMAT_H

#include "core/error.h"

enum { XN_DB_FORMAT = 2 };

/* The number; 0: there is no such file; or -1 with @err. @dir: the folder's name, for the sentence. */
int xn_format_read(int dir_fd, const char *dir, struct xn_error *err) XN_MUST_CHECK;
/* Whole or not at all. 0, or -1 with @err. */
int xn_format_write(int dir_fd, const char *dir, int format, struct xn_error *err) XN_MUST_CHECK;

/* For the stores on this folder: returns -1 with "@doing in @dir: why". */
int xn_folder_refuse(const char *dir, struct xn_error *err, int neg_errno, const char *doing);

#endif
