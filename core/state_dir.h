/*
 * The state folder: made when it is not there, held by one daemon at a time, and for one hypervisor
 * only, because objects of a simulated world mean nothing on a real one.
 */
#ifndef XN_STATE_DIR_H
#define XN_STATE_DIR_H

#include "core/base.h"

/*
 * xn_state_dir_hold - make, lock and mark @path
 * @hypervisor: "sim" or "xen"; must be the one that the folder was first used with
 * Return: a descriptor whose closing (or the process' end) gives the folder free again, or -1 with
 * a sentence in *why (the caller frees).
 */
int xn_state_dir_hold(const char *path, const char *hypervisor, char **why);

/* With all that is in it; links are removed, not followed. 0 or -errno. Blocks. */
int xn_remove_folder(const char *path);

#endif
