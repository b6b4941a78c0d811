#!/usr/bin/env python3
"""openstacksdk against a coordinator with fake-hardware: the whole life of a node, and every call that nova's ironic driver makes.

Usage: sdk.py ENDPOINT. Prints a line for each part and, last, the number of calls made. Fails on the first surprise.
"""

import importlib.metadata
import sys
import uuid

import openstack
from openstack import exceptions

CALLS = 0


def count(response, *_args, **_kwargs):
    """Counts requests; a 5xx is never right."""
    global CALLS
    CALLS += 1
    assert response.status_code < 500, f"{response.request.method} {response.url}: {response.status_code} {response.text}"
    return response


def refused(error, act):
    """The call must be refused with this error."""
    try:
        act()
    except error as refusal:
        return str(refusal)
    raise AssertionError(f"was not refused: {act}")


def lifecycle(metal):
    node = metal.create_node(driver="fake-hardware", name="sdk-0", resource_class="gold", provision_state="enroll")
    assert node.provision_state == "enroll", node.provision_state
    for target, state, options in [
        ("manage", "manageable", {}),
        ("inspect", "manageable", {}),
        ("clean", "manageable", {"clean_steps": [{"interface": "power", "step": "reboot"}]}),
        ("provide", "available", {}),
        ("active", "active", {"config_drive": {"meta_data": {"hostname": "sdk-0"}, "user_data": "#!/bin/sh\n"}}),
        ("rescue", "rescue", {"rescue_password": "fake-password"}),
        ("unrescue", "active", {}),
        ("rebuild", "active", {}),
        ("service", "active", {"service_steps": [{"interface": "power", "step": "reboot"}]}),
        ("deleted", "available", {}),
    ]:
        # The SDK cannot wait for every target by itself.
        metal.get_node(node.id).set_provision_state(metal, target, **options)
        metal.wait_for_nodes_provision_state([node], state, timeout=30)
        node = metal.get_node(node.id)
        assert node.provision_state == state, (target, node.provision_state, node.last_error)
        assert node.last_error is None, node.last_error
    metal.set_node_provision_state(node, "manage", wait=True, timeout=30)
    metal.set_node_provision_state(node, "adopt")
    metal.wait_for_nodes_provision_state([node], "active", timeout=30)
    metal.set_node_provision_state(node, "deleted", wait=True, timeout=30)
    steps = [{"interface": "power", "step": "hold"}]
    metal.set_node_provision_state(node, "manage", wait=True, timeout=30)
    metal.set_node_provision_state(node, "clean", clean_steps=steps)
    metal.wait_for_nodes_provision_state([node], "clean hold", timeout=30)
    metal.set_node_provision_state(node, "unhold")
    metal.wait_for_nodes_provision_state([node], "manageable", timeout=30)
    metal.set_node_provision_state(node, "provide", wait=True, timeout=30)
    return metal.get_node(node.id)


def nova(metal, node):
    """What nova's ironic driver asks for (nova/virt/ironic/driver.py), in its order."""
    fields = (
        "uuid", "power_state", "target_power_state", "provision_state", "target_provision_state", "last_error", "maintenance",
        "properties", "instance_uuid", "traits", "resource_class",
    )
    assert any(found.id == node.id for found in metal.nodes(fields=fields))
    assert not list(metal.nodes(fields=fields, associated=True))
    assert not list(metal.nodes(fields=fields, shard="nowhere"))
    assert metal.get_node(node.id, fields=fields).resource_class == "gold"
    instance = str(uuid.uuid4())
    metal.update_node(node, retry_on_conflict=False, instance_id=instance)
    assert [found.id for found in metal.nodes(instance_id=instance, fields=fields)] == [node.id]
    twin = metal.create_node(driver="fake-hardware", name="sdk-twin")
    refused(exceptions.ConflictException, lambda: metal.update_node(twin, retry_on_conflict=False, instance_id=instance))
    metal.patch_node(node, [
        {"op": "add", "path": "/instance_info/image_source", "value": "http://192.0.2.1/image.qcow2"},
        {"op": "add", "path": "/instance_info/root_gb", "value": "10"},
        {"op": "add", "path": "/instance_info/traits", "value": ["CUSTOM_GOLD"]},
        {"op": "add", "path": "/instance_info/display_name", "value": "server-1"},
    ])
    assert metal.get_node(node.id).instance_info["root_gb"] == "10"
    metal.set_node_traits(node, ["CUSTOM_GOLD"])
    metal.add_node_trait(node, "CUSTOM_FAST")
    metal.remove_node_trait(node, "CUSTOM_FAST")
    port = metal.create_port(node_id=node.id, address="52:54:00:11:22:33", is_pxe_enabled=True)
    assert [found.id for found in metal.ports(node=node.id)] == [port.id]
    assert [found.address for found in metal.ports(details=True, node=node.id)] == ["52:54:00:11:22:33"]
    assert not list(metal.port_groups(details=True, node=node.id))
    metal.attach_vif_to_node(node, "network-port-1", retry_on_conflict=False)
    refused(exceptions.ConflictException, lambda: metal.attach_vif_to_node(node, "network-port-1", retry_on_conflict=False))
    assert metal.list_node_vifs(node) == ["network-port-1"]
    connector = metal.create_volume_connector(node_id=node.id, type="iqn", connector_id="iqn.2026-01.example:x")
    target = metal.create_volume_target(node_id=node.id, volume_type="iscsi", boot_index=0, volume_id=str(uuid.uuid4()))
    assert [found.id for found in metal.volume_targets(details=True, node=node.id)] == [target.id]
    assert [found.id for found in metal.volume_connectors(details=True, node=node.id)] == [connector.id]
    validation = metal.validate_node(node, required=("boot", "deploy", "power"))
    assert validation["deploy"].result and validation["storage"].result
    metal.set_node_provision_state(node, "active", config_drive={"meta_data": {"hostname": "server-1"}})
    metal.wait_for_nodes_provision_state([node], "active", timeout=30)
    for power in ["power off", "power on", "rebooting", "soft power off", "soft rebooting"]:
        metal.set_node_power_state(node, power, wait=True, timeout=30)
    metal.inject_nmi_to_node(node)
    metal.set_node_boot_device(node, "disk", persistent=True)
    assert metal.get_node_boot_device(node)["boot_device"] == "disk"
    metal.enable_node_console(node)
    assert metal.get_node_console(node)["console_enabled"] is True
    metal.disable_node_console(node)
    metal.set_node_provision_state(node, "rebuild", config_drive={"meta_data": {}}, wait=True, timeout=30)
    metal.set_node_provision_state(node, "rescue", rescue_password="fake-password", wait=True, timeout=30)
    metal.set_node_provision_state(node, "unrescue")
    metal.wait_for_nodes_provision_state([node], "active", timeout=30)
    metal.detach_vif_from_node(node, "network-port-1")
    metal.delete_volume_target(target)
    metal.delete_volume_connector(connector)
    metal.set_node_provision_state(node, "deleted", wait=True, timeout=30)
    metal.delete_port(port)
    metal.delete_node(twin)
    node = metal.get_node(node.id)
    assert node.instance_id is None and node.instance_info == {}, node


def records(metal):
    chassis = metal.create_chassis(description="rack")
    assert metal.get_chassis(chassis.id).description == "rack"
    metal.update_chassis(chassis, description="rack 2")
    assert any(found.id == chassis.id for found in metal.chassis(details=True))
    metal.delete_chassis(chassis)
    step = {"interface": "bios", "step": "apply", "args": {}, "priority": 10}
    template = metal.create_deploy_template(name="CUSTOM_TEMPLATE", steps=[step])
    metal.patch_deploy_template(template, [{"op": "replace", "path": "/name", "value": "CUSTOM_OTHER"}])
    assert [found.name for found in metal.deploy_templates(details=True)] == ["CUSTOM_OTHER"]
    metal.delete_deploy_template(template)
    node = metal.find_node("sdk-0")
    group = metal.create_port_group(node_id=node.id, name="bond0", address="52:54:00:11:22:44")
    assert metal.find_port_group("bond0").id == group.id
    metal.update_port_group(group, mode="802.3ad")
    metal.delete_port_group(group)
    runbook = metal.create_runbook(name="CUSTOM_BOOK", steps=[{"interface": "power", "step": "reboot", "args": {}, "order": 1}])
    assert [found.id for found in metal.runbooks()] == [runbook.id]
    metal.delete_runbook(runbook)
    rule = metal.create_inspection_rule(description="r", actions=[{"op": "set-attribute", "args": {"path": "/extra/a", "value": "1"}}])
    assert [found.id for found in metal.inspection_rules()] == [rule.id]
    metal.delete_inspection_rule(rule)
    metal.set_node_traits(node, ["CUSTOM_GOLD"])
    allocation = metal.create_allocation(name="mine", resource_class="gold", traits=["CUSTOM_GOLD"])
    allocation = metal.wait_for_allocation(allocation, timeout=30)
    assert allocation.node_id == node.id and metal.get_node(node.id).allocation_id == allocation.id
    metal.update_allocation(allocation, extra={"a": 1})
    metal.delete_allocation(allocation)
    nothing = metal.create_allocation(resource_class="unobtainium")
    refused(exceptions.SDKException, lambda: metal.wait_for_allocation(nothing, timeout=30))
    assert metal.wait_for_allocation(nothing, timeout=30, ignore_error=True).state == "error"


def rest(metal):
    assert [driver.name for driver in metal.drivers(details=True)] == ["fake-hardware", "ipmi"]
    assert metal.get_driver("ipmi").default_power_interface == "ipmitool"
    assert metal.list_driver_vendor_passthru("ipmi") == {}
    conductors = list(metal.conductors(details=True))
    assert metal.get_conductor(conductors[0].hostname).alive
    node = metal.find_node("sdk-0")
    metal.set_node_maintenance(node, reason="disks")
    assert metal.get_node(node.id).maintenance_reason == "disks"
    metal.unset_node_maintenance(node)
    assert metal.get_node_supported_boot_devices(node)["supported_boot_devices"]
    assert metal.list_node_firmware(node) in ([], {"firmware": []})
    assert metal.list_node_vendor_passthru(node) == {}
    refused(exceptions.NotFoundException, lambda: metal.get_node_inventory(node))
    refused(exceptions.BadRequestException, lambda: metal.set_node_provision_state(node, "rebuild"))
    refused(exceptions.NotFoundException, lambda: metal.get_node("nobody"))
    metal.update_node(node, name="sdk-renamed", extra={"a": {"b": 1}})
    metal.delete_node(metal.find_node("sdk-renamed"))


def main():
    connection = openstack.connect(auth_type="none", endpoint=sys.argv[1], baremetal_endpoint_override=sys.argv[1])
    metal = connection.baremetal
    session = connection.session
    original = session.request

    def counted(*args, **kwargs):
        return count(original(*args, **kwargs))

    session.request = counted
    node = lifecycle(metal)
    print("lifecycle: good")
    nova(metal, node)
    print("nova's calls: good")
    records(metal)
    print("records: good")
    rest(metal)
    print("the rest: good")
    release = importlib.metadata.version("openstacksdk")
    print(f"openstacksdk {release}: {CALLS} calls, none failed")


if __name__ == "__main__":
    main()
