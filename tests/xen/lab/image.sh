# What a lab boots: Xen, a kernel, and dom0's root disk with a tiny guest in it, made of Debian's
# packages by `build`. Sourced by lab. Any change of this file, of dom0/ and of guest/ makes an
# image of its own: its folder is named after a hash of them.

suite=bookworm
xen_version=4.17

# dom0's packages: Xen's tools, what hotplug scripts call, the libraries of the daemon.
packages="xen-utils-$xen_version xen-utils-common xenstore-utils qemu-system-xen qemu-utils seabios
	mount fdisk bridge-utils iproute2 kmod udev procps iputils-ping netbase e2fsprogs ethtool lvm2
	libevent-core-2.1-7 libevent-pthreads-2.1-7 libevent-openssl-2.1-7 libjansson4 liblmdb0 libexpat1
	libmbedcrypto7 libmbedx509-1 libmbedtls14 libssl3 libpam0g zlib1g libzstd1 libxml2
	openssh-server strace gdb socat jq curl busybox-static ${XENLAB_EXTRA_PACKAGES:-}"

# Of the kernel's modules dom0 gets these, with their dependencies.
dom0_modules="fs/ext4 fs/9p fs/fuse fs/overlayfs fs/nfs fs/xfs fs/isofs fs/squashfs net
	drivers/block drivers/md drivers/virtio drivers/xen drivers/target
	drivers/net/xen-netback drivers/net/bonding drivers/net/virtio_net.ko drivers/net/net_failover.ko
	drivers/net/tun.ko drivers/net/tap.ko drivers/net/veth.ko drivers/net/dummy.ko drivers/net/ifb.ko
	drivers/net/macvlan.ko drivers/net/vxlan drivers/hwmon/coretemp.ko
	drivers/scsi/iscsi_tcp.ko drivers/watchdog/softdog.ko"
# Loaded before the root disk is there.
initrd_modules="virtio_pci virtio_blk ext4 crc32c_generic"
guest_modules="xen-blkfront xen-netfront ext4 crc32c_generic isofs sr_mod ata_piix sd_mod"

# What this machine must have: a program, and the package that brings it.
host_tools="qemu-system-x86_64 qemu-system-x86
mmdebstrap mmdebstrap
mke2fs e2fsprogs
cpio cpio
xz xz-utils
depmod kmod
ssh openssh-client
setpriv util-linux"

cannot() { # a test that needs a lab is skipped on this
	echo "lab: not on this machine: $*" >&2
	exit 77
}

need_tools() {
	local tool package missing=
	[ "$(id -u)" = 0 ] || cannot "it takes root"
	[ "$(uname -m)" = x86_64 ] || cannot "the image is for x86-64"
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || cannot "it takes apt"
	while read -r tool package; do
		PATH=$PATH:/sbin:/usr/sbin command -v "$tool" >/dev/null || missing+=" $package"
	done <<<"$host_tools"
	[ -e /usr/share/seabios/bios-256k.bin ] || missing+=" seabios"
	[ -n "$missing" ] || return 0
	[ -z "${XENLAB_NO_INSTALL:-}" ] || cannot "missing packages:$missing"
	say "installing:$missing"
	apt-get -q update >/dev/null || cannot "apt-get update failed"
	# shellcheck disable=SC2086 # a list
	DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y \
		--no-install-recommends $missing >/dev/null || cannot "could not install:$missing"
}

image_key() {
	{
		echo $suite $packages
		(cd "$here" && sha256sum image.sh dom0/* guest/*)
	} | sha256sum | cut -c1-16
}

# modules_copy SOURCE KERNEL DEST NAME...: modules with their dependencies.
modules_copy() {
	local source=$1 kernel=$2 dest=$3 file
	shift 3
	for file in "$@"; do
		modprobe -d "$source" -S "$kernel" --show-depends "$file" 2>/dev/null || true
	done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r file; do
		file=${file#"$source"}
		mkdir -p "$dest$(dirname "$file")"
		cp "$source$file" "$dest$file"
	done
	mkdir -p "$dest/lib/modules/$kernel"
	cp "$source/lib/modules/$kernel"/modules.{order,builtin,builtin.modinfo} "$dest/lib/modules/$kernel/"
	depmod -b "$dest" "$kernel"
}

# busybox_tree DEST BUSYBOX: a root with busybox and a link for each of its applets.
busybox_tree() {
	local applet
	mkdir -p "$1"/{bin,sbin,dev,proc,sys,run,tmp,etc,mnt,newroot}
	cp "$2" "$1/bin/busybox"
	for applet in $("$2" --list); do
		[ -e "$1/bin/$applet" ] || ln -s busybox "$1/bin/$applet"
	done
}

# vmlinux_of BZIMAGE OUT: the ELF inside, so that nothing is unpacked in emulation. Debian's is xz.
vmlinux_of() {
	local offset
	for offset in $(LC_ALL=C grep -abo $'\xfd7zXZ' "$1" | cut -d: -f1); do
		tail -c +$((offset + 1)) "$1" | { xz -dc --single-stream 2>/dev/null || true; } >"$2"
		if [ "$(head -c 4 "$2" | tail -c 3)" = ELF ]; then return 0; fi
	done
	return 1
}

unpack_packages() { # the hypervisor and the kernel: unpacked, not installed
	local package
	[ -n "$(apt-cache policy linux-image-amd64 2>/dev/null)" ] || apt-get -q update >/dev/null
	kernel=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
	[ -n "$kernel" ] || cannot "apt knows no linux-image-amd64"
	mkdir "$work/deb" "$work/x"
	(cd "$work/deb" && apt-get -q -o APT::Sandbox::User=root download \
		xen-hypervisor-$xen_version-amd64 "$kernel" >/dev/null) || cannot "apt-get download failed"
	for package in "$work"/deb/*.deb; do dpkg-deb -x "$package" "$work/x"; done
	kernel=${kernel#linux-image-}
	depmod -b "$work/x" "$kernel"
	zcat "$work/x/boot/xen-$xen_version-amd64.gz" >"$work/out/xen"
	cp "$work/x/boot/vmlinuz-$kernel" "$work/out/vmlinuz"
	vmlinux_of "$work/out/vmlinuz" "$work/out/vmlinux" || die "no ELF in the kernel's image"
}

dom0_root() {
	local root=$work/root folder file modules=()
	say "dom0's root"
	# shellcheck disable=SC2086 # a list
	mmdebstrap --quiet --variant=essential --mode=root \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
		--include="$(echo $packages | tr ' ' ,)" "$suite" "$root" >"$cache/build.log" 2>&1 8>&- || {
		tail -20 "$cache/build.log" >&2
		die "mmdebstrap failed"
	}
	for folder in $dom0_modules; do
		while read -r file; do
			file=${file##*/}
			modules+=("${file%.ko}")
		done < <(find "$work/x/lib/modules/$kernel/kernel/$folder" -name '*.ko' 2>/dev/null)
	done
	modules_copy "$work/x" "$kernel" "$root" "${modules[@]}"
	mkdir -p "$root"/{usr/lib/xenlab,var/lib/xen,var/log/xen,share}
	install -m 755 "$here"/dom0/{boot,daemons,job} "$root/usr/lib/xenlab/"
	install -m 755 "$here/dom0/mkguest" "$root/usr/bin/xenlab-guest"
	install -m 644 "$here/dom0/sshd_config" "$root/etc/ssh/sshd_config"
	rm -f "$root"/etc/ssh/ssh_host_*
	echo xenlab >"$root/etc/hostname"
	echo '127.0.0.1 localhost xenlab' >"$root/etc/hosts"
	echo 'autoballoon="off"' >"$root/etc/xen/xl.conf"
	sed -i 's,^root:[^:]*:,root::,; /^root:/s,:[^:]*$,:/bin/bash,' "$root/etc/passwd"
}

# Kernel, and an initramfs of busybox and a xenstore client, so that it can play the guest agent.
tiny_guest() {
	local tree=$work/guest root=$work/root file
	say "the guest"
	busybox_tree "$tree" "$root/bin/busybox"
	modules_copy "$work/x" "$kernel" "$tree" $guest_modules
	install -m 755 "$here/guest/init" "$tree/init"
	rm -f "$tree"/bin/{poweroff,reboot,halt}
	install -m 755 "$here/guest/shutdown" "$tree/sbin/poweroff"
	install -m 755 "$here/guest/shutdown" "$tree/sbin/reboot"
	for file in $(chroot "$root" ldd /usr/bin/xenstore-read | grep -o '/lib[^ ]*'); do
		mkdir -p "$tree$(dirname "$file")"
		cp -L "$root$file" "$tree$file"
	done
	mkdir -p "$tree/usr/bin" "$root/usr/lib/xenlab/guest"
	cp -L "$root/usr/bin/xenstore-read" "$tree/usr/bin/xenstore"
	for file in read write list ls rm exists watch; do
		ln -s xenstore "$tree/usr/bin/xenstore-$file"
	done
	(cd "$tree" && find . | cpio --quiet -o -H newc | gzip -6) >"$root/usr/lib/xenlab/guest/initrd"
	cp "$work"/out/{vmlinuz,vmlinux} "$root/usr/lib/xenlab/guest/"
}

dom0_initrd() {
	local tree=$work/initrd module
	busybox_tree "$tree" "$work/root/bin/busybox"
	modules_copy "$work/x" "$kernel" "$tree" $initrd_modules
	for module in $initrd_modules; do
		modprobe -d "$tree" -S "$kernel" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
	done | sed "s,^$tree,," | awk '!seen[$0]++' >"$tree/etc/insmod"
	install -m 755 "$here/dom0/init" "$tree/init"
	(cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/out/initrd"
}

root_image() {
	local size
	say "the root disk"
	size=$(du -sm "$work/root" | cut -f1)
	mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -m 0 -L xenlab-root -d "$work/root" \
		"$work/out/root.img" $((size + size / 4 + 4096))M
}

build() { # sets image, the folder of the images; made if it is not there
	local started=$SECONDS kernel work
	need_tools
	mkdir -p "$cache"
	image=$cache/$(image_key)
	[ ! -e "$image/ok" ] || return 0
	exec 8>"$cache/lock"
	flock 8 # several labs may want it at once
	if [ ! -e "$image/ok" ]; then
		say "building the images (some minutes, once)"
		work=$cache/tmp.$$
		rm -rf "$work"
		mkdir -p "$work/out"
		trap 'rm -rf "$cache/tmp.$$"' EXIT
		trap 'exit 130' INT TERM HUP
		unpack_packages
		dom0_root
		tiny_guest
		dom0_initrd
		root_image
		: >"$work/out/ok"
		rm -rf "$image"
		mv "$work/out" "$image"
		rm -rf "$work"
		trap - EXIT INT TERM HUP
		say "built in $((SECONDS - started)) s: $(du -sh "$image" | cut -f1)"
	fi
	exec 8>&-
}
