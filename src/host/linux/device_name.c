/* device_name.c: vendors' and products' names, from libpci's database (pci.ids). */
#include <pci/pci.h>
#include <stdlib.h>
#include <string.h>

#include "host/linux/linux.h"

/* libpci ends the program on an error of its own; without a database there is none. */
static void no_words(char *format, ...)
{
    (void)format;
}

static const char *look_up(struct pci_access *access, struct arena *arena, int what, int vendor, int product)
{
    char buffer[256];
    const char *name =
        pci_lookup_name(access, buffer, sizeof(buffer), what | PCI_LOOKUP_NO_NUMBERS, vendor, product);
    return name && *name ? arena_strdup(arena, name) : NULL;
}

void device_names_observe(struct arena *arena, struct observed *observed)
{
    struct pci_access *access = pci_alloc();
    access->warning = no_words;
    vec_foreach (&observed->devices, device) {
        if (!device->network)
            continue;
        device->vendor_name = look_up(access, arena, PCI_LOOKUP_VENDOR, device->vendor, 0);
        device->product_name = look_up(access, arena, PCI_LOOKUP_DEVICE, device->vendor, device->product);
    }
    pci_cleanup(access);
}
