/*
 * Consoles over HTTP: CONNECT /console?uuid= (or ref=) of a console or a VM ties the connection to the
 * guest's terminal, or to the VNC server of its screen, until one of the two ends it.
 */
#ifndef XN_TERMINAL_H
#define XN_TERMINAL_H

#include "core/module.h"

extern const struct xn_module xn_terminal_module;

#endif
