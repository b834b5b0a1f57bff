/*
 * Which files of the host a guest may get as its kernel or ramdisk. Who may change a VM's record
 * need not be root here: any other file could be read that way from inside a guest.
 */
#ifndef XN_BOOT_FILE_H
#define XN_BOOT_FILE_H

/*
 * xn_boot_file_resolve - the file that @path names, behind all links
 * @folders: absolute, separated by ':'; the file must be below one of them
 * Return: its real path, for the caller to free; NULL when it is elsewhere, no regular file, or not
 * there: the answers must not tell which
 */
char *xn_boot_file_resolve(const char *path, const char *folders);

#endif
