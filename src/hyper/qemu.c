/* qemu.c: a machine entry as a QEMU command line (hyper.h).  QEMU 7.2 and newer; source:
 * qemu-system-x86_64(1).
 *
 * How the file's words come out:
 *
 * - display: a standard VGA adapter and VNC.  width and height are the mode that the adapter's EDID prefers,
 *   which OVMF and the guests' drivers take; a guest that ignores EDID chooses its own.  `wait`: QEMU has no
 *   such word, so the guest is held before its first instruction (-S) and options->wait_path is the socket
 *   where the engine lets it go once a viewer is there.  Without a wait_path (`args`) nothing is held.
 *
 * - serial: with `stdio` the terminal is the guest's, so Ctrl-C goes to the guest, and Ctrl-A is QEMU's own
 * key, as with -nographic (Ctrl-A X ends it, Ctrl-A C shows the monitor, Ctrl-A H helps).  The default is
 * stdio, and a socket in the background, where `stdio` means the socket too.  Where there is no display the
 * firmware speaks on the serial port as well.
 *
 * - boot: disks in their order, then the cdrom: an empty disk falls through to the installer, and once that
 * has run the disk boots.
 *
 * - uefi: OVMF's code, read-only, and a variable store of the machine's own.
 *
 * - nics: each behind a PCI Express root port of its own, and some ports more, because only what is behind
 * one can come and go while the guest runs (docs/pcie.txt of QEMU).  Nic N is netdev nicN, device cardN,
 * behind portN, also when it comes later (hotplug.c), so that the guest finds it at the same place after a
 * new start. The ports come first and have fixed places, so that their number moves nothing else.  An e1000
 * needs I/O ports, of which each root port takes 4096 of the 65536 that there are: the ninth and later ones
 * stay on the root bus.
 *
 * - extra: comes last.  Where it has a -sandbox of its own, ours is left out. */
#include "hyper/hyper.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

enum { MEMORY_DEFAULT_MIB = 1024, VNC_PORT_BASE = 5900, PORT_SLOT = 0x10, E1000_PORTS = 8 };

/* A command line that grows. */
struct qemu {
    struct arena *arena;
    const struct machine *machine;
    const struct hyper_options *options;
    VEC(const char *) words;
};

static void word(struct qemu *qemu, const char *text)
{
    *vec_push(qemu->arena, &qemu->words) = text;
}

__attribute__((format(printf, 3, 4))) static void option(struct qemu *qemu, const char *name,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    word(qemu, name);
    word(qemu, arena_vprintf(qemu->arena, format, args));
    va_end(args);
}

/* A value inside an option list: commas doubled (QEMU's own escape). */
static const char *value(struct qemu *qemu, const char *text)
{
    struct text out = {.arena = qemu->arena};
    for (const char *c = text; *c; c++)
        text_add_bytes(&out, *c == ',' ? ",," : c, *c == ',' ? 2 : 1);
    return text_get(&out);
}

/* A path from the file, absolute where a directory is known.  A relative one gets "./", so that neither a
 * leading dash nor a "nbd:" is taken for something else. */
static const char *path(struct qemu *qemu, const char *text)
{
    if (text[0] == '/')
        return text;
    return arena_printf(qemu->arena, "%s/%s", qemu->options->directory ? qemu->options->directory : ".",
                        text);
}

int qemu_firmware_find(struct arena *arena, const char *directory, struct hyper_firmware *firmware,
                       struct err *err)
{
    static const struct {
        const char *directory, *code, *vars;
    } places[] = {
        {"/usr/share/OVMF", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"}, /* Debian, Ubuntu */
        {"/usr/share/OVMF", "OVMF_CODE.fd", "OVMF_VARS.fd"},
        {"/usr/share/edk2/x64", "OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"}, /* Arch */
        {"/usr/share/edk2/ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"},      /* Fedora */
    };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const char *from = directory ? directory : places[i].directory;
        const char *code = arena_printf(arena, "%s/%s", from, places[i].code);
        const char *vars = arena_printf(arena, "%s/%s", from, places[i].vars);
        if (access(code, F_OK) == 0 && access(vars, F_OK) == 0) {
            *firmware = (struct hyper_firmware){.code = code, .vars = vars};
            return 0;
        }
    }
    return err_set(err, ENOENT, "the UEFI firmware OVMF is not in '%s' (Debian's package: ovmf)",
                   directory ? directory : places[0].directory);
}

static void basics(struct qemu *qemu)
{
    const struct machine *machine = qemu->machine;
    const struct hyper_options *options = qemu->options;
    bool speaks = !machine->display.on && machine->serial != SERIAL_OFF;
    word(qemu, "qemu-system-x86_64");
    word(qemu, "-nodefaults");
    word(qemu, "-no-user-config");
    option(qemu, "-name", "guest=%s", value(qemu, machine->name));
    option(qemu, "-machine", "q35%s", speaks ? ",graphics=off" : "");
    option(qemu, "-accel", "%s", options->accelerated ? "kvm" : "tcg,thread=multi");
    option(qemu, "-cpu", "%s", options->accelerated ? "host" : "max");
    option(qemu, "-smp", "%u", machine->cpus ? machine->cpus : 1);
    if (machine->memory_bytes == 0)
        option(qemu, "-m", "%dM", MEMORY_DEFAULT_MIB);
    else if (machine->memory_bytes % (1 << 20) == 0)
        option(qemu, "-m", "%" PRIu64 "M", machine->memory_bytes >> 20);
    else
        option(qemu, "-m", "%" PRIu64 "B", machine->memory_bytes);
}

static int firmware(struct qemu *qemu, struct err *err)
{
    const struct machine *machine = qemu->machine;
    const struct hyper_options *options = qemu->options;
    if (machine->firmware == FIRMWARE_PATH)
        option(qemu, "-bios", "%s", path(qemu, machine->firmware_path));
    if (machine->firmware != FIRMWARE_UEFI)
        return 0;
    struct hyper_firmware ovmf;
    int rc = qemu_firmware_find(qemu->arena, options->firmware_directory, &ovmf, err);
    if (rc < 0)
        return err_wrap(err, "firmware 'uefi'");
    option(qemu, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=%s", value(qemu, ovmf.code));
    if (options->vars_path)
        option(qemu, "-drive", "if=pflash,unit=1,format=raw,file=%s", value(qemu, options->vars_path));
    else
        option(qemu, "-drive", "if=pflash,unit=1,format=raw,snapshot=on,file=%s", value(qemu, ovmf.vars));
    return 0;
}

static int kernel(struct qemu *qemu, struct err *err)
{
    const struct machine *machine = qemu->machine;
    if (!machine->kernel) {
        const char *orphan = machine->initrd ? "initrd" : machine->cmdline ? "cmdline" : NULL;
        return orphan ? err_set(err, EINVAL, "'%s' needs 'kernel'", orphan) : 0;
    }
    option(qemu, "-kernel", "%s", path(qemu, machine->kernel));
    if (machine->initrd)
        option(qemu, "-initrd", "%s", path(qemu, machine->initrd));
    if (machine->cmdline)
        option(qemu, "-append", "%s", machine->cmdline);
    return 0;
}

static void ports(struct qemu *qemu)
{
    size_t count = qemu->options->qmp_path ? HYPER_SPARE_NICS : 0;
    const char *const *devices = qemu->options->devices;
    vec_foreach (&qemu->machine->nics, nic)
        count += !devices || !devices[nic - qemu->machine->nics.items];
    for (size_t i = 0; i < count; i++)
        option(qemu, "-device", "pcie-root-port,id=port%zu,chassis=%zu,addr=%zx.%zx,multifunction=on", i,
               i + 1, PORT_SLOT + i / 8, i % 8);
}

static void storage(struct qemu *qemu)
{
    unsigned index = 0;
    vec_foreach (&qemu->machine->disks, disk) {
        option(qemu, "-drive", "if=none,id=disk%u,format=%s%s,file=%s", index,
               disk->format == DISK_QCOW2 ? "qcow2" : "raw", disk->read_only ? ",readonly=on" : "",
               value(qemu, path(qemu, disk->path)));
        option(qemu, "-device", "virtio-blk-pci,drive=disk%u,bootindex=%u", index, index + 1);
        index++;
    }
    if (!qemu->machine->cdrom)
        return;
    option(qemu, "-drive", "if=none,id=cd0,media=cdrom,format=raw,readonly=on,file=%s",
           value(qemu, path(qemu, qemu->machine->cdrom)));
    option(qemu, "-device", "ide-cd,drive=cd0,bootindex=%u", index + 1);
}

static int display(struct qemu *qemu, struct err *err)
{
    const struct display *want = &qemu->machine->display;
    option(qemu, "-display", "none");
    if (want->on) {
        if (want->vnc_port < VNC_PORT_BASE)
            return err_set(err, EINVAL, "display: VNC port %u is below %d, which QEMU cannot do",
                           want->vnc_port, VNC_PORT_BASE);
        bool ipv6 = ip_size(&want->vnc_ip) == 16;
        option(qemu, "-vnc", "%s%s%s:%d", ipv6 ? "[" : "", IP_TEXT(&want->vnc_ip), ipv6 ? "]" : "",
               want->vnc_port - VNC_PORT_BASE);
        if (want->width && want->height)
            option(qemu, "-device", "VGA,edid=on,xres=%u,yres=%u", want->width, want->height);
        else
            option(qemu, "-device", "VGA");
    }
    if (qemu->machine->tablet) {
        option(qemu, "-device", "qemu-xhci");
        option(qemu, "-device", "usb-tablet");
    }
    return 0;
}

static void serial(struct qemu *qemu)
{
    enum serial_kind kind = qemu->machine->serial;
    const struct hyper_options *options = qemu->options;
    if (kind == SERIAL_DEFAULT)
        kind = SERIAL_STDIO;
    if (kind == SERIAL_STDIO && options->background)
        kind = SERIAL_SOCKET;
    if (kind == SERIAL_STDIO) {
        option(qemu, "-chardev", "stdio,id=serial0,mux=on,signal=off");
        option(qemu, "-serial", "chardev:serial0");
        option(qemu, "-mon", "chardev=serial0,mode=readline");
    } else if (kind == SERIAL_SOCKET && options->serial_path) {
        option(qemu, "-chardev", "socket,id=serial0,server=on,wait=off,path=%s",
               value(qemu, options->serial_path));
        option(qemu, "-serial", "chardev:serial0");
    }
}

static int nics(struct qemu *qemu, struct err *err)
{
    unsigned index = 0;
    const char *const *devices = qemu->options->devices;
    vec_foreach (&qemu->machine->nics, nic) {
        const char *device = devices ? devices[nic - qemu->machine->nics.items] : NULL;
        if (device) {
            option(qemu, "-device", "vfio-pci,host=%s", device);
            continue;
        }
        unsigned queues = nic->queues ? nic->queues : 1;
        bool virtio = nic->model == NIC_VIRTIO;
        if (!virtio && queues > 1)
            return err_set(err, EINVAL, "nic %u: an e1000 has one queue, not %u", index, queues);
        struct text netdev = {.arena = qemu->arena};
        /* QEMU takes fd= with vhostfd= for one queue and fds= with vhostfds= for several, never mixed. */
        const char *many = queues > 1 ? "s" : "";
        text_add(&netdev, "tap,id=nic%u,fd%s={fd%s%u}", index, many, many, index);
        if (virtio && qemu->options->vhost)
            text_add(&netdev, ",vhost=on,vhostfd%s={vhostfds%u}", many, index);
        option(qemu, "-netdev", "%s", text_get(&netdev));
        /* Two vectors a queue pair, one for the configuration, one for the control queue (virtio 1.1, 5.1.2).
         */
        const char *multi = queues > 1 ? arena_printf(qemu->arena, ",mq=on,vectors=%u", 2 * queues + 2) : "";
        /* A guest that does not ask by DHCP learns it so (virtio 1.1, 5.1.3: VIRTIO_NET_F_MTU). */
        uint32_t mtu = qemu->options->mtus ? qemu->options->mtus[nic - qemu->machine->nics.items] : 0;
        const char *host_mtu =
            virtio && mtu && mtu != MTU_DEFAULT ? arena_printf(qemu->arena, ",host_mtu={mtu%u}", index) : "";
        const char *bus =
            virtio || index < E1000_PORTS ? arena_printf(qemu->arena, "port%u", index) : "pcie.0";
        option(qemu, "-device", "%s,id=card%u,bus=%s,netdev=nic%u,mac={mac%u}%s%s",
               virtio ? "virtio-net-pci" : "e1000", index, bus, index, index, multi, host_mtu);
        index++;
    }
    return 0;
}

static void control(struct qemu *qemu)
{
    const struct hyper_options *options = qemu->options;
    if (options->qmp_path)
        option(qemu, "-qmp", "unix:%s,server=on,wait=off", value(qemu, options->qmp_path));
    if (options->wait_path && qemu->machine->display.on && qemu->machine->display.wait) {
        option(qemu, "-qmp", "unix:%s,server=on,wait=off", value(qemu, options->wait_path));
        word(qemu, "-S");
    }
    if (options->agent_path && qemu->machine->agent) {
        option(qemu, "-device", "virtio-serial-pci");
        option(qemu, "-chardev", "socket,id=agent0,server=on,wait=off,path=%s",
               value(qemu, options->agent_path));
        option(qemu, "-device", "virtserialport,chardev=agent0,name=org.qemu.guest_agent.0");
    }
    if (options->pid_path)
        option(qemu, "-pidfile", "%s", options->pid_path);
    if (options->background)
        word(qemu, "-daemonize");
}

static void extra(struct qemu *qemu)
{
    bool sandboxed = false;
    vec_foreach (&qemu->machine->extra, argument)
        sandboxed |= strcmp(*argument, "-sandbox") == 0 || strcmp(*argument, "--sandbox") == 0;
    /* -daemonize forks and calls setsid(2) after the filter is in place. */
    if (!sandboxed)
        option(qemu, "-sandbox",
               qemu->options->background
                   ? "on,obsolete=deny,resourcecontrol=deny"
                   : "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    vec_foreach (&qemu->machine->extra, argument)
        word(qemu, *argument);
}

int qemu_argv(struct arena *arena, const struct machine *machine, const struct hyper_options *options,
              const char *const **argv, struct err *err)
{
    struct qemu qemu = {.arena = arena, .machine = machine, .options = options};
    basics(&qemu);
    int rc = firmware(&qemu, err);
    if (rc == 0)
        rc = kernel(&qemu, err);
    if (rc == 0) {
        ports(&qemu);
        storage(&qemu);
        rc = display(&qemu, err);
    }
    if (rc == 0) {
        serial(&qemu);
        option(&qemu, "-device", "virtio-rng-pci");
        rc = nics(&qemu, err);
    }
    if (rc < 0)
        return err_wrap(err, "machine '%s'", machine->name);
    control(&qemu);
    extra(&qemu);
    word(&qemu, NULL);
    *argv = qemu.words.items;
    return 0;
}
