/*
 * Backups of the running daemon's database: GET /backup streams one (format: modules/db/backup.h),
 * and `xenolithd --backup FILE` fetches it. Consistent at one generation, made by a worker piece by
 * piece as fast as the client reads; calls go on meanwhile.
 */
#ifndef XN_BACKUP_MODULE_H
#define XN_BACKUP_MODULE_H

#include "core/module.h"

extern const struct xn_module xn_backup_module;

/* Asks the daemon that serves on this Unix socket, and proves what comes. The file @path is whole or
 * as it was before. Blocks. 0 with a line in @said, or -1 with a sentence in *why. */
int xn_backup_fetch(const char *socket_path, const char *path, struct xn_buf *said, char **why);

#endif
