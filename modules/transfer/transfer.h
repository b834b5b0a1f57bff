/*
 * Files over HTTP: virtual machines as archives, disks, the database as XML. What comes and goes is
 * streamed with back-pressure: memory does not grow with the file, and disks are read by workers.
 */
#ifndef XN_TRANSFER_H
#define XN_TRANSFER_H

#include "core/module.h"

extern const struct xn_module xn_transfer_module;

#endif
