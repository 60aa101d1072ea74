/* bhyve_life.c: how a bhyve process starts and ends, and what it and bhyvectl(8) are asked: bhyve.h. */
#include "hyper/bhyve.h"

#include <stdlib.h>
#include <string.h>

const char *bhyve_node(struct arena *arena, const char *machine)
{
    return arena_printf(arena, "/dev/vmm/%s", machine);
}

const char *bhyve_title(struct arena *arena, const char *machine)
{
    return arena_printf(arena, "bhyve: %s", machine);
}

const char *const *bhyve_control(struct arena *arena, const char *machine, const char *order)
{
    const char **argv = arena_alloc(arena, 4 * sizeof(*argv));
    argv[0] = "bhyvectl";
    argv[1] = order;
    argv[2] = arena_printf(arena, "--vm=%s", machine);
    argv[3] = NULL;
    return argv;
}

/* "57 bhyve: vm1", as it calls itself once all is opened; "57 bhyve -c 2 … vm1" before. */
static bool is_of(const char *line, size_t length, const char *machine)
{
    static const char name[] = "bhyve";
    size_t word = strcspn(line, " :"), tail = strlen(machine);
    if (word > length)
        return false;
    const char *slash = memrchr(line, '/', word);
    const char *program = slash ? slash + 1 : line;
    if ((size_t)(line + word - program) != strlen(name) || strncmp(program, name, strlen(name)) != 0)
        return false;
    return length > word + 1 + tail && line[length - tail - 1] == ' ' &&
           strncmp(line + length - tail, machine, tail) == 0;
}

pid_t bhyve_pid_parse(const char *text, const char *machine)
{
    for (const char *line = text; *line;) {
        size_t end = strcspn(line, "\n"), digits = strspn(line, "0123456789");
        if (digits && digits < end && line[digits] == ' ' &&
            is_of(line + digits + 1, end - digits - 1, machine))
            return (pid_t)atol(line);
        line += end + (line[end] == '\n');
    }
    return 0;
}

enum bhyve_end bhyve_exit(int status, bool ran)
{
    switch (status) {
    case 0:
        return BHYVE_REBOOT;
    case 1:
        return ran ? BHYVE_POWER_OFF : BHYVE_USAGE;
    case 2:
        return BHYVE_HALT;
    case 3:
    case 128 + 6: /* SIGABRT */
        return BHYVE_TRIPLE_FAULT;
    case 128 + 9:  /* SIGKILL, */
    case 128 + 15: /* SIGTERM of a guest without ACPI, */
    case 128 + 1:  /* SIGHUP, */
    case 128 + 2:  /* SIGINT: somebody ended it */
        return BHYVE_KILLED;
    case 64: /* EX_USAGE */
        return BHYVE_USAGE;
    default:
        return status > 128 ? BHYVE_CRASH : BHYVE_ERROR;
    }
}

const char *bhyve_end_text(enum bhyve_end end)
{
    static const char *const texts[] = {
        [BHYVE_REBOOT] = "the guest rebooted",
        [BHYVE_POWER_OFF] = "the guest powered off",
        [BHYVE_HALT] = "the guest halted",
        [BHYVE_TRIPLE_FAULT] = "the guest's processor gave up (triple fault)",
        [BHYVE_USAGE] = "bhyve did not accept its command line",
        [BHYVE_ERROR] = "bhyve could not start the machine",
        [BHYVE_CRASH] = "bhyve crashed",
        [BHYVE_KILLED] = "bhyve was killed",
    };
    return texts[end];
}

/* What bhyve says has the errno of an earlier call behind its last words: the lines before tell.  In the
 * order in which they are looked for: what is particular comes first. */
static const struct {
    const char *said, *meaning;
} meanings[] = {
    {"vm_create: No such file or directory", "vmm is not loaded: kldload vmm"},
    {"vm_create: Device not configured",
     "vmm found no usable virtualisation in this processor (dmesg says what is missing; it may be off in the "
     "firmware's setup)"},
    {"vm_create: Operation not permitted", "run as root"},
    {"vm_create: Invalid argument", "vmm does not take this name"},
    {"vm_reinit: Device busy",
     "another bhyve has a machine of this name, or had one and was killed: bhyvectl "
     "--destroy --vm=NAME once it has ended"},
    {"open of tap device", "the tap is in use by another program, or was destroyed"},
    {"bind: Address already in use", "another program has the display's port: see `sockstat -l`"},
    {"Could not open backing file", "a disk or CD of the file is not there"},
    {"opening bootrom", "the firmware is not there: pkg install bhyve-firmware (or edk2-bhyve)"},
    {"ootrom size", "this is no boot ROM for bhyve"},
    {"passthru requires guest memory to be wired", "-S is missing"},
    {"is not using the ppt(4) driver",
     "ppt does not have the device, another guest has it, or this host has no IOMMU that is on (VT-d or "
     "AMD-Vi "
     "in the firmware's setup; hw.vmm.amdvi.enable=1 in /boot/loader.conf for AMD)"},
    {"Invalid MAC", "bhyve takes no such MAC"},
    {"already occupied!", "`extra` uses a slot that vmwire has given away"},
    {"unknown device", "this bhyve does not have such a device"},
};

const char *bhyve_meaning(const char *said)
{
    for (size_t i = 0; i < sizeof(meanings) / sizeof(*meanings); i++) {
        if (strstr(said, meanings[i].said))
            return meanings[i].meaning;
    }
    return NULL;
}

const char *bhyve_last_words(struct arena *arena, const char *said)
{
    static const char stale[] = "device emulation initialization error";
    const char *best = "", *fallback = "";
    for (const char *line = said; *line;) {
        size_t length = strcspn(line, "\n");
        const char *copy =
            arena_strndup(arena, line, length && line[length - 1] == '\r' ? length - 1 : length);
        if (strncmp(copy, stale, strlen(stale)) == 0)
            fallback = copy;
        else if (copy[strspn(copy, " \t")])
            best = copy;
        line += length + (line[length] == '\n');
    }
    return *best ? best : fallback;
}
