/*
 * The format of a database's folder, as a number in its file "format": "xenolith database 2".
 * Whoever finds a higher number than it knows refuses; a lower one is brought up to date (migrate.c).
 *
 *	1  the first
 *	2  the database itself holds its format, too, so that a backup or a journal alone tells it
 */
#ifndef XN_DB_FORMAT_H
#define XN_DB_FORMAT_H

#include "core/base.h"

enum { XN_DB_FORMAT = 2 };

/* The number; 0: there is no such file; or -errno with a sentence in *why (the caller frees).
 * @dir: the folder's name, for the sentence. */
int xn_format_read(int dir_fd, const char *dir, char **why) XN_MUST_CHECK;
/* Whole or not at all. 0; or -errno with a sentence in *why. */
int xn_format_write(int dir_fd, const char *dir, int format, char **why) XN_MUST_CHECK;

#endif
