import Glibc
import Testing

@testable import EdgeAgent

/// The choice of a place for bots' groups, and what may be done to it, on folders that look like control groups.
@Suite("Where control groups for bots are made")
struct ControlGroupLayoutTests {
    private func group(
        _ folder: FixtureFolder,
        _ path: String,
        type: String? = "domain",
        controllers: String = "cpuset cpu io memory pids",
        members: String = ""
    ) throws -> ControlGroup {
        if let type { try folder.write("\(path)/cgroup.type", type + "\n") }
        try folder.write("\(path)/cgroup.controllers", controllers + "\n")
        try folder.write("\(path)/cgroup.subtree_control", "\n")
        try folder.write("\(path)/cgroup.procs", members)
        return ControlGroup("\(folder.path)/\(path)")
    }

    private func handedOn(_ group: ControlGroup) -> String {
        String(decoding: PseudoFile.read("\(group.path)/cgroup.subtree_control") ?? [], as: UTF8.self)
    }

    private func layout(_ groups: ControlGroup...) -> ControlGroupLayout {
        var places = ControlGroupPlaces(groups: [], mounts: [])
        places.unified = groups.map(\.path)
        return ControlGroupLayout(places)
    }

    @Test("A group that holds processes is never changed")
    func keepsInhabited() throws {
        let folder = try FixtureFolder()
        let inhabited = try group(folder, "unit", members: "12\n")
        inhabited.handOn()
        #expect(handedOn(inhabited) == "\n")
        // Threaded below: its processes cannot be told, which is no reason to think that there are none.
        let unreadable = try group(folder, "threaded")
        unlink(unreadable.path + "/cgroup.procs")
        unreadable.handOn()
        #expect(handedOn(unreadable) == "\n")
    }

    @Test("An empty group hands on what it has of memory, cpu and pids; the machine's root also with processes")
    func handsOn() throws {
        let folder = try FixtureFolder()
        let empty = try group(folder, "empty", controllers: "io pids")
        empty.handOn()
        #expect(handedOn(empty) == "+pids")
        let root = try group(folder, "root", type: nil, controllers: "memory", members: "1\n2\n")
        root.handOn()
        #expect(root.isMachineRoot && handedOn(root) == "+memory")
    }

    @Test(
        "In a subgroup that was made for the agent or the holder, bots are its neighbours",
        arguments: ["agent", "holder"]
    )
    func besideSubgroup(_ name: String) throws {
        let folder = try FixtureFolder()
        let unit = try group(folder, "unit")
        let own = try group(folder, "unit/\(name)", members: "12\n")
        #expect(layout(own, unit).bases == ["unified": unit.path])
        #expect(layout(own, unit).shortfall == "")
    }

    @Test("Whoever may change the machine's root has bots below it")
    func belowRoot() throws {
        let folder = try FixtureFolder()
        let root = try group(folder, "", type: nil)
        let own = try group(folder, "session", members: "12\n")
        #expect(layout(own, root).bases == ["unified": root.path])
        #expect(layout(own, root).shortfall == "")
    }

    @Test("Elsewhere they are below the agent's own group, and a limit says why none keeps it")
    func belowOwn() throws {
        let folder = try FixtureFolder()
        let top = try group(folder, "")
        let own = try group(folder, "unit", members: "12\n")
        let found = layout(own, top)
        #expect(found.bases == ["unified": own.path])
        #expect(found.shortfall.contains("edge-agent-bots.service"))
        // A hybrid machine: version 1 keeps the limits, and nothing is missing.
        let bare = try group(folder, "bare", controllers: "hugetlb")
        #expect(layout(bare, try group(folder, "bare-top", type: nil, controllers: "hugetlb")).shortfall == "")
    }

    @Test("Processes are moved into a subgroup only where that leaves none behind")
    func splits() throws {
        let folder = try FixtureFolder()
        let shared = try group(folder, "shared", members: "12\n13\n")
        shared.split(into: "agent", moving: [12])
        #expect(access(shared.path + "/agent", F_OK) != 0 && handedOn(shared) == "\n")
        let bare = try group(folder, "bare", controllers: "hugetlb", members: "12\n")
        bare.split(into: "agent", moving: [12])
        #expect(access(bare.path + "/agent", F_OK) != 0)
    }

    @Test("A launch does without a group that cannot be joined")
    func leavesInvalid() throws {
        let folder = try FixtureFolder()
        let unit = try group(folder, "unit", type: "domain threaded", members: "12\n")
        let invalid = try group(folder, "unit/edge-agent-x/a-1", type: "domain invalid")
        let made = LaunchControlGroups(making: ["unified": invalid.path])
        #expect(made.directories.isEmpty)
        #expect(handedOn(unit) == "\n")
    }

    @Test("A process's ancestry goes up to the first process and has each once")
    func ancestry() {
        let found = SystemProcesses.ancestry(of: getpid())
        #expect(found.contains(getpid()) && found.contains(getppid()))
        #expect(!found.contains(0))
    }
}
