/* bhyve.c: a machine entry as a bhyve command line (hyper.h).  bhyve of FreeBSD 12.1 and newer; source:
 * bhyve(8).
 *
 * How the file's words come out:
 *
 * - slots: 0 hostbridge, 3 the CD, 4 disks, 5 nics with a tap, 6 passed-through NICs, 29 display, 30 tablet,
 *   31 lpc.  A slot has eight functions: the first is written as the slot alone ("5"), the next ones "5:1" to
 *   "5:7".  bhyve's own MACs come from slot and function, and a guest's boot entries too: so they must not
 *   move.
 *
 * - queues: a nic of bhyve has one, however many the file gives.
 *
 * - mac: not written where bhyve would make the very same one (bhyve_mac).
 *
 * - firmware: UEFI; there is no other but a file of the user's own.
 *
 * - serial: the terminal, or the guest's side of a pair of nmdm(4) devices where the machine runs in the
 *   background or has `serial: socket`.
 *
 * - display: VNC; `wait` is bhyve's own word.
 *
 * - -H and -w always: an idle guest does not burn a processor, and a guest that reads an unknown register
 *   lives.  -S, wired memory, with a passed-through NIC, whose DMA needs it.  -A, ACPI tables, in the
 *   background, where SIGTERM is all the power button that there is: a guest without ACPI dies of it.
 *
 * - extra: before the machine's name, behind which bhyve reads nothing. */
#include "hyper/hyper.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "hyper/bhyve.h"

enum {
    SLOT_CD = 3,
    SLOT_DISKS = 4,
    SLOT_NICS = 5,
    SLOT_PASSTHROUGH = 6,
    FUNCTIONS = 8,
    BHYVE_NAME_MAX = 31, /* VM_MAX_NAMELEN of FreeBSD 12 less the NUL */
    DISPLAY_WIDTH_MAX = 1920,
    DISPLAY_HEIGHT_MAX = 1200,
    MEBIBYTES = 20, /* shifts of bytes */
    GIBIBYTES = 30,
};

/* A command line that grows. */
struct bhyve {
    struct arena *arena;
    const struct machine *machine;
    const struct hyper_options *options;
    VEC(const char *) words;
};

static void word(struct bhyve *bhyve, const char *text)
{
    *vec_push(bhyve->arena, &bhyve->words) = text;
}

__attribute__((format(printf, 3, 4))) static void option(struct bhyve *bhyve, const char *name,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    word(bhyve, name);
    word(bhyve, arena_vprintf(bhyve->arena, format, args));
    va_end(args);
}

/* "5", "5:1", … */
static const char *place(struct bhyve *bhyve, unsigned slot, unsigned function)
{
    return function ? arena_printf(bhyve->arena, "%u:%u", slot, function)
                    : arena_printf(bhyve->arena, "%u", slot);
}

/* A path of the file inside an option list, absolute where a directory is known.  bhyve has no escape for a
 * comma. */
static int path(struct bhyve *bhyve, const char *key, const char *text, const char **result, struct err *err)
{
    if (strchr(text, ','))
        return err_set(err, EINVAL, "%s: bhyve cannot open '%s': a comma ends a path there", key, text);
    const char *directory = bhyve->options->directory;
    *result = text[0] == '/' ? text : arena_printf(bhyve->arena, "%s/%s", directory ? directory : ".", text);
    return 0;
}

const char *bhyve_console(struct arena *arena, const char *machine, char side)
{
    return arena_printf(arena, "/dev/nmdm-%s%c", machine, side);
}

int bhyve_device_parse(const char *text, struct bhyve_device *device)
{
    struct bhyve_device found = {0};
    int end = 0, count = sscanf(text, "pci%u:%u:%u:%u%n", &found.domain, &found.bus, &found.slot,
                                &found.function, &end);
    if (count != 4)
        count = sscanf(text, "%x:%x:%x.%x%n", &found.domain, &found.bus, &found.slot, &found.function, &end);
    if (count != 4) {
        found.domain = 0;
        count = 1 + sscanf(text, "%u/%u/%u%n", &found.bus, &found.slot, &found.function, &end);
    }
    if (count != 4 || text[end])
        return -EINVAL;
    *device = found;
    return 0;
}

/* What the file may ask for and bhyve does not have. */
static int refuse(const struct machine *machine, struct err *err)
{
    if (strlen(machine->name) > BHYVE_NAME_MAX)
        return err_set(err, EINVAL, "its name has %zu characters, and a bhyve machine's has at most %d",
                       strlen(machine->name), BHYVE_NAME_MAX);
    if (machine->firmware == FIRMWARE_BIOS)
        return err_set(err, EINVAL,
                       "firmware: bhyve has no BIOS; write 'firmware: uefi', or the path of a boot ROM");
    const char *kernel = machine->kernel    ? "kernel"
                         : machine->initrd  ? "initrd"
                         : machine->cmdline ? "cmdline"
                                            : NULL;
    if (kernel)
        return err_set(err, EINVAL,
                       "%s: bhyve boots no kernel directly; put the guest on a disk and let UEFI boot it",
                       kernel);
    if (machine->agent)
        return err_set(err, EINVAL, "agent: vmwire gives a bhyve machine no channel to an agent");
    const struct display *display = &machine->display;
    if (display->on && (display->width > DISPLAY_WIDTH_MAX || display->height > DISPLAY_HEIGHT_MAX))
        return err_set(err, EINVAL, "display: %ux%u is more than bhyve's %dx%d", display->width,
                       display->height, DISPLAY_WIDTH_MAX, DISPLAY_HEIGHT_MAX);
    return 0;
}

static void basics(struct bhyve *bhyve, bool wired)
{
    uint64_t memory = bhyve->machine->memory_bytes ? bhyve->machine->memory_bytes : (uint64_t)1 << GIBIBYTES;
    word(bhyve, "bhyve");
    option(bhyve, "-c", "%u", bhyve->machine->cpus ? bhyve->machine->cpus : 1);
    if (memory % ((uint64_t)1 << GIBIBYTES) == 0)
        option(bhyve, "-m", "%" PRIu64 "G", memory >> GIBIBYTES);
    else
        option(bhyve, "-m", "%" PRIu64 "M", memory >> MEBIBYTES);
    word(bhyve, "-w");
    word(bhyve, "-H");
    if (wired)
        word(bhyve, "-S");
    if (bhyve->options->background)
        word(bhyve, "-A");
    option(bhyve, "-s", "0,hostbridge");
}

static int storage(struct bhyve *bhyve, struct err *err)
{
    const char *file;
    unsigned function = 0;
    int rc = 0;
    if (bhyve->machine->cdrom) {
        rc = path(bhyve, "cdrom", bhyve->machine->cdrom, &file, err);
        if (rc < 0)
            return rc;
        option(bhyve, "-s", "%d,ahci-cd,%s", SLOT_CD, file);
    }
    if (bhyve->machine->disks.count > FUNCTIONS)
        return err_set(err, EINVAL, "disks: %zu are more than the %d that fit on slot %d",
                       bhyve->machine->disks.count, FUNCTIONS, SLOT_DISKS);
    vec_foreach (&bhyve->machine->disks, disk) {
        if (disk->format == DISK_QCOW2)
            return err_set(
                err, EINVAL,
                "disk %u: bhyve reads no qcow2; `qemu-img convert -O raw %s FILE.raw` makes a raw one",
                function + 1, shell_quote(bhyve->arena, disk->path));
        rc = path(bhyve, arena_printf(bhyve->arena, "disk %u", function + 1), disk->path, &file, err);
        if (rc < 0)
            return rc;
        option(bhyve, "-s", "%s,ahci-hd,%s%s", place(bhyve, SLOT_DISKS, function), file,
               disk->read_only ? ",ro" : "");
        function++;
    }
    return 0;
}

/* The device of nic `index`, or NULL when it has a tap. */
static const char *device_of(const struct bhyve *bhyve, size_t index)
{
    return bhyve->options->devices ? bhyve->options->devices[index] : NULL;
}

static int tap_nic(struct bhyve *bhyve, const struct nic *nic, unsigned tap, struct err *err)
{
    if (tap >= FUNCTIONS)
        return err_set(err, EINVAL, "nics: more than the %d that fit on slot %d", FUNCTIONS, SLOT_NICS);
    struct mac own;
    bhyve_mac(bhyve->machine->name, SLOT_NICS, tap, &own);
    bool same = memcmp(&own, &nic->mac, sizeof(own)) == 0;
    option(bhyve, "-s", same ? "%s,%s,{tap%u}" : "%s,%s,{tap%u},mac={mac%u}", place(bhyve, SLOT_NICS, tap),
           nic->model == NIC_E1000 ? "e1000" : "virtio-net", tap, tap);
    return 0;
}

static int device_nic(struct bhyve *bhyve, const char *address, unsigned function, struct err *err)
{
    struct bhyve_device device;
    if (bhyve_device_parse(address, &device) < 0)
        return err_set(err, EINVAL, "nics: '%s' is no PCI address (as 3/0/0)", address);
    if (device.domain)
        return err_set(err, EINVAL, "nics: bhyve passes no device of PCI domain %u ('%s')", device.domain,
                       address);
    if (function >= FUNCTIONS)
        return err_set(err, EINVAL, "nics: more passed-through ones than the %d that fit on slot %d",
                       FUNCTIONS, SLOT_PASSTHROUGH);
    option(bhyve, "-s", "%s,passthru,%u/%u/%u", place(bhyve, SLOT_PASSTHROUGH, function), device.bus,
           device.slot, device.function);
    return 0;
}

static int nics(struct bhyve *bhyve, struct err *err)
{
    unsigned taps = 0, devices = 0;
    int rc = 0;
    vec_foreach (&bhyve->machine->nics, nic) {
        if (rc == 0 && !device_of(bhyve, (size_t)(nic - bhyve->machine->nics.items)))
            rc = tap_nic(bhyve, nic, taps++, err);
    }
    for (size_t i = 0; rc == 0 && i < bhyve->machine->nics.count; i++) {
        if (device_of(bhyve, i))
            rc = device_nic(bhyve, device_of(bhyve, i), devices++, err);
    }
    return rc;
}

static void display(struct bhyve *bhyve)
{
    const struct display *want = &bhyve->machine->display;
    if (want->on) {
        bool ipv6 = ip_size(&want->vnc_ip) == 16;
        struct text fbuf = {.arena = bhyve->arena};
        text_add(&fbuf, "29,fbuf,tcp=%s%s%s:%u", ipv6 ? "[" : "", IP_TEXT(&want->vnc_ip), ipv6 ? "]" : "",
                 want->vnc_port);
        if (want->width && want->height)
            text_add(&fbuf, ",w=%u,h=%u", want->width, want->height);
        if (want->wait)
            text_add(&fbuf, ",wait");
        option(bhyve, "-s", "%s", text_get(&fbuf));
    }
    if (bhyve->machine->tablet)
        option(bhyve, "-s", "30,xhci,tablet");
}

static int lpc(struct bhyve *bhyve, struct err *err)
{
    const struct machine *machine = bhyve->machine;
    option(bhyve, "-s", "31,lpc");
    if (machine->serial != SERIAL_OFF) {
        bool stdio = machine->serial != SERIAL_SOCKET && !bhyve->options->background;
        option(bhyve, "-l", "com1,%s", stdio ? "stdio" : bhyve_console(bhyve->arena, machine->name, 'A'));
    }
    const char *rom = bhyve->options->firmware_directory
                          ? arena_printf(bhyve->arena, "%s/BHYVE_UEFI.fd", bhyve->options->firmware_directory)
                          : BHYVE_UEFI;
    if (machine->firmware == FIRMWARE_PATH) {
        int rc = path(bhyve, "firmware", machine->firmware_path, &rom, err);
        if (rc < 0)
            return rc;
    }
    option(bhyve, "-l", "bootrom,%s", rom);
    return 0;
}

int bhyve_argv(struct arena *arena, const struct machine *machine, const struct hyper_options *options,
               const char *const **argv, struct err *err)
{
    struct bhyve bhyve = {.arena = arena, .machine = machine, .options = options};
    bool wired = false;
    for (size_t i = 0; i < machine->nics.count; i++)
        wired |= device_of(&bhyve, i) != NULL;
    int rc = refuse(machine, err);
    if (rc == 0) {
        basics(&bhyve, wired);
        rc = storage(&bhyve, err);
    }
    if (rc == 0)
        rc = nics(&bhyve, err);
    if (rc == 0) {
        display(&bhyve);
        rc = lpc(&bhyve, err);
    }
    if (rc < 0)
        return err_wrap(err, "machine '%s'", machine->name);
    vec_foreach (&machine->extra, argument)
        word(&bhyve, *argument);
    word(&bhyve, machine->name);
    word(&bhyve, NULL);
    *argv = bhyve.words.items;
    return 0;
}
