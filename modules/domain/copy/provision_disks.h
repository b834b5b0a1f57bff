/* What disks VM.provision makes: the parser of other_config:disks. */
#ifndef XN_PROVISION_DISKS_H
#define XN_PROVISION_DISKS_H

#include "core/value.h"

enum { XN_PROVISION_MAX_DISKS = 255 };

/* @disks_out: the caller's set of maps {device, size (int), sr ("": default), bootable (bool),
 * type}. Return: 0, or -errno with a few static words in *why. */
int xn_provision_disks_parse(const char *text, size_t len, struct xn_value **disks_out,
			     const char **why);

#endif
