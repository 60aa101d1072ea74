/* test_render.c: operations as commands: word for word, and safe for names that are keywords of ip(8) or
 * nft(8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "host/render.h"

/* What an operation, written as in the journal, renders to. */
static const char *rendered(struct arena *arena, const char *line)
{
    struct op op;
    struct err err = {0};
    if (op_parse(arena, line, &op, &err) < 0)
        fail_msg("%s: %s", line, err.text);
    return linux_render(arena, &op);
}

static void expect(const char *line, const char *commands)
{
    _cleanup_arena_ struct arena arena = {0};
    assert_string_equal(rendered(&arena, line), commands);
}

static void a_bridge_is_made_tagged_and_set_up_last(void **state)
{
    (void)state;
    expect(
        "link-create network=brext ifname=brext kind=bridge mac=02:00:00:00:00:01 mtu=1500 up=1 "
        "alias=vmwire:brext "
        "stp=0 forward_delay=0 ipv6=0",
        "ip link add name brext address 02:00:00:00:00:01 mtu 1500 type bridge stp_state 0 forward_delay 0\n"
        "ip link set dev brext alias vmwire:brext\n"
        "ip link set dev brext addrgenmode none\n"
        "ip link set dev brext up\n");
}

static void names_that_are_keywords_of_ip_stay_names(void **state)
{
    (void)state;
    expect("link-create network=dev ifname=dev kind=bridge", "ip link add name dev type bridge\n");
    expect("link-delete network=type ifname=type kind=bridge", "ip link delete dev type\n");
    expect("link-set network=up ifname=up kind= up=1", "ip link set dev up up\n");
    expect("link-set network=tx ifname=tx kind= up=0", "ip link set dev tx down\n");
    expect("port-add network=master ifname=nomaster bridge=master",
           "ip link set dev nomaster master master\n");
    expect("port-remove network=br ifname=tx bridge=br", "ip link set dev tx nomaster\n");
    expect("address-add network=up ifname=up address=10.0.0.1/24 broadcast=10.0.0.255",
           "ip address add 10.0.0.1/24 broadcast 10.0.0.255 dev up\n");
}

static void an_admission_is_one_rule_with_a_tag(void **state)
{
    (void)state;
    expect("admission-add network=br0 family=ip table=filter chain=FORWARD kind=from last=1",
           "nft 'add rule ip filter FORWARD iifname \"br0\" counter accept comment \"vmwire:br0 from\"'\n");
    expect("admission-add network=br0 family=ip table=filter chain=ufw-after-input kind=dhcp",
           "nft 'insert rule ip filter ufw-after-input iifname \"br0\" udp dport 67 counter accept comment "
           "\"vmwire:br0 dhcp\"'\n");
    expect("admission-remove network=br0 family=ip table=filter chain=FORWARD kind=to",
           "nft delete rule ip filter FORWARD handle \"$(nft -a list chain ip filter FORWARD | sed -n "
           "'s/.*comment \"vmwire:br0 to\" # handle //p')\"\n");
    expect("unmanage network=br0 interfaces=br0%20re0",
           "mkdir -p /run/systemd/network\n"
           "cat > /run/systemd/network/00-vmwire-br0.network <<'EOF'\n"
           "[Match]\nName=br0 re0\n\n[Link]\nUnmanaged=yes\n"
           "EOF\nnetworkctl reload\n");
    expect("manage network=br0 interfaces=br0",
           "rm /run/systemd/network/00-vmwire-br0.network\nnetworkctl reload\n");
    expect("zone-add network=br0 ifname=br0 zone=vmwire",
           "firewall-cmd --quiet --zone=vmwire --add-interface=br0\n");
    expect("zone-remove network=br0 ifname=br0 zone=vmwire",
           "firewall-cmd --quiet --zone=vmwire --remove-interface=br0\n");
}

static void a_tag_with_a_space_is_one_word(void **state)
{
    (void)state;
    expect("link-set network=n ifname=tap0 kind= alias=vmwire:n%20vm0/0",
           "ip link set dev tap0 alias 'vmwire:n vm0/0'\n");
}

static void a_route_keeps_every_attribute(void **state)
{
    (void)state;
    expect("route-add network=n table=254 to=0.0.0.0/0 type=1 protocol=3 metric=100 gateway=192.0.2.1 "
           "ifname=re1 "
           "source=192.0.2.9 onlink=1 mtu=1400",
           "ip route add default via 192.0.2.1 dev re1 proto 3 scope 0 metric 100 src 192.0.2.9 onlink mtu "
           "1400\n");
    expect("route-replace network=n table=100 to=::/0 type=1 protocol=4 metric=5 gateway=fe80::1 ifname=re1 "
           "preference=1",
           "ip -6 route replace default via fe80::1 dev re1 table 100 proto 4 metric 5 pref high\n");
    expect("route-remove network=n table=254 to=10.9.0.0/16 type=6 protocol=4",
           "ip route delete blackhole 10.9.0.0/16 proto 4 scope 0\n");
}

static void a_dot_inside_an_interface_name_is_a_slash_for_sysctl(void **state)
{
    (void)state;
    expect("sysctl-set network= name=net.ipv4.conf.re1/7.forwarding value=1",
           "sysctl -w net.ipv4.conf.re1/7.forwarding=1\n");
}

static void names_that_are_keywords_of_nft_are_quoted(void **state)
{
    _cleanup_arena_ struct arena arena = {0};
    (void)state;
    const char *text =
        rendered(&arena, "firewall-set network=accept bridge=accept uplink=drop subnet=10.0.0.0/24");
    assert_non_null(strstr(text, "forward_pair { \"accept\" . \"drop\" : accept }"));
    assert_non_null(strstr(text, "forward_to { \"accept\" comment \"10.0.0.0/24\" : goto inward }"));
    assert_null(strstr(text, "{ accept"));
}

static void a_named_uplink_is_the_only_way_out(void **state)
{
    _cleanup_arena_ struct arena arena = {0};
    (void)state;
    const char *named = rendered(&arena, "firewall-set network=n bridge=n uplink=re1 subnet=10.0.0.0/24");
    const char *open = rendered(&arena, "firewall-set network=n bridge=n uplink= subnet=10.0.0.0/24");
    assert_non_null(strstr(named, "forward_from { \"n\" : goto refuse }"));
    assert_null(strstr(named, "nat_from { \"n\""));
    assert_non_null(strstr(open, "nat_from { \"n\" : goto translate }"));
    assert_null(strstr(open, "forward_from { \"n\""));
}

static void a_service_is_its_command_line_and_a_kill(void **state)
{
    (void)state;
    expect("service-stop network=n kind=dnsmasq argv=dnsmasq pid_path=/run/vmwire/network/n/dnsmasq.pid "
           "timeout_ms=1",
           "kill \"$(cat /run/vmwire/network/n/dnsmasq.pid)\"\n");
}

static void a_file_is_written_whole_with_its_mode(void **state)
{
    (void)state;
    expect("file-write network=n path=/run/vmwire/network/n/dnsmasq.conf content=port=53%0auser=$USER%0a "
           "mode=384",
           "mkdir -p -m 700 /run/vmwire /run/vmwire/network /run/vmwire/network/n\n"
           "cat > /run/vmwire/network/n/dnsmasq.conf <<'EOF'\nport=53\nuser=$USER\nEOF\n"
           "chmod 600 /run/vmwire/network/n/dnsmasq.conf\n");
}

#define DEVICE "/sys/bus/pci/devices/0000:02:00.0"

static void a_device_goes_to_vfio_and_back_under_its_name(void **state)
{
    (void)state;
    expect("device-bind network=n address=0000:02:00.0 driver=vfio-pci ifname=n1",
           "modprobe vfio-pci\n"
           "echo vfio-pci > " DEVICE "/driver_override\n"
           "[ ! -e " DEVICE "/driver ] || echo 0000:02:00.0 > " DEVICE "/driver/unbind\n"
           "echo 0000:02:00.0 > /sys/bus/pci/drivers_probe\n");
    expect("device-unbind network=n address=0000:02:00.0 driver=e1000e ifname=n1",
           "echo  > " DEVICE "/driver_override\n"
           "[ ! -e " DEVICE "/driver ] || echo 0000:02:00.0 > " DEVICE "/driver/unbind\n"
           "echo 0000:02:00.0 > /sys/bus/pci/drivers_probe\n"
           "[ -e " DEVICE "/net/n1 ] || ip link set dev \"$(ls " DEVICE "/net)\" name n1\n");
    expect("device-unbind network=n address=0000:02:00.0 driver=virtio-pci ifname=v0 override=virtio-pci",
           "echo  > " DEVICE "/driver_override\n"
           "[ ! -e " DEVICE "/driver ] || echo 0000:02:00.0 > " DEVICE "/driver/unbind\n"
           "echo 0000:02:00.0 > /sys/bus/pci/drivers_probe\n"
           "echo virtio-pci > " DEVICE "/driver_override\n"
           "[ -e " DEVICE "/virtio*/net/v0 ] || ip link set dev \"$(ls " DEVICE "/virtio*/net)\" name v0\n");
}

static void a_function_is_told_all_that_the_file_says(void **state)
{
    (void)state;
    expect("functions-set network=n address=0000:02:00.0 count=4",
           "echo 0 > " DEVICE "/sriov_numvfs\n"
           "echo 0 > " DEVICE "/sriov_drivers_autoprobe\n"
           "echo 4 > " DEVICE "/sriov_numvfs\n");
    expect("functions-set network=n address=0000:02:00.0 probe=1",
           "echo 0 > " DEVICE "/sriov_numvfs\n"
           "echo 1 > " DEVICE "/sriov_drivers_autoprobe\n");
    expect(
        "function-set network=n ifname=n1 index=3 mac=02:00:00:00:00:07 vlan=20 spoof_check=0 trust=1 "
        "rate_mbps=100 link=2",
        "ip link set dev n1 vf 3 mac 02:00:00:00:00:07 vlan 20 max_tx_rate 100 spoofchk off trust on state "
        "disable\n");
    expect("function-set network=n ifname=n1 link=0", "ip link set dev n1 vf 0 state auto\n");
    expect("function-set network=n ifname=n1 link=1", "ip link set dev n1 vf 0 state enable\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bridge_is_made_tagged_and_set_up_last),
        cmocka_unit_test(names_that_are_keywords_of_ip_stay_names),
        cmocka_unit_test(an_admission_is_one_rule_with_a_tag),
        cmocka_unit_test(a_tag_with_a_space_is_one_word),
        cmocka_unit_test(a_route_keeps_every_attribute),
        cmocka_unit_test(a_dot_inside_an_interface_name_is_a_slash_for_sysctl),
        cmocka_unit_test(names_that_are_keywords_of_nft_are_quoted),
        cmocka_unit_test(a_named_uplink_is_the_only_way_out),
        cmocka_unit_test(a_service_is_its_command_line_and_a_kill),
        cmocka_unit_test(a_file_is_written_whole_with_its_mode),
        cmocka_unit_test(a_device_goes_to_vfio_and_back_under_its_name),
        cmocka_unit_test(a_function_is_told_all_that_the_file_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
