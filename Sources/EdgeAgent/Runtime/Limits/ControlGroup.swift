import Glibc
import WireFormat

/// One control group of version 2, and the only place that hands controllers on.
///
/// A group that hands on controllers must not hold processes. The kernel refuses `memory` for one that does, but takes
/// `cpu` and `pids`: the group then becomes the root of a threaded subtree, and no group below it can be joined any more.
/// So a group that holds processes is never changed. Kernel documentation, admin-guide/cgroup-v2, "No Internal Process
/// Constraint" and "Threads".
struct ControlGroup: Sendable, Equatable {
    /// The controllers that limits need. `memory` comes first: it is refused where the others would do harm.
    static let wantedControllers = ["memory", "cpu", "pids"]

    /// Directory of the group.
    let path: String

    init(_ path: String) {
        self.path = path
    }

    /// The group one level up; nil at the top of the file system.
    var parent: ControlGroup? {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return nil }
        return ControlGroup(String(path[..<slash]))
    }

    var name: String { path.split(separator: "/").last.map { String($0) } ?? "" }

    func below(_ name: String) -> ControlGroup { ControlGroup("\(path)/\(name)") }

    /// The machine's own root, where alone processes and controllers may meet. The root of a container is none.
    var isMachineRoot: Bool {
        access("\(path)/cgroup.procs", F_OK) == 0 && access("\(path)/cgroup.type", F_OK) != 0
    }

    /// Whether processes can join it; false below a group that became threaded.
    var isDomain: Bool {
        guard let type = PseudoFile.read("\(path)/cgroup.type") else { return isMachineRoot }
        return ["domain\n", "domain threaded\n"].contains(String(decoding: type, as: UTF8.self))
    }

    /// Whether this user may move processes into it.
    var isWritable: Bool { access("\(path)/cgroup.procs", W_OK) == 0 }

    /// The wanted controllers that the group has, and can hand on.
    var controllers: [String] { wanted(in: "cgroup.controllers") }

    /// The wanted controllers that groups below have.
    var handedOn: [String] { wanted(in: "cgroup.subtree_control") }

    /// Numbers of the processes in the group itself; nil where they cannot be told.
    var members: [pid_t]? {
        guard let text = PseudoFile.read("\(path)/cgroup.procs") else { return nil }
        // 0 is a process outside of what can be seen from here. It counts.
        return text.split(separator: UInt8(ascii: "\n")).map {
            pid_t(decimal: String(decoding: $0, as: UTF8.self)) ?? 0
        }
    }

    /// Hands the wanted controllers on to the groups below, unless the group holds processes.
    ///
    /// - Returns: those that are handed on now.
    @discardableResult
    func handOn() -> [String] {
        let already = handedOn
        let missing = controllers.filter { !already.contains($0) }
        guard !missing.isEmpty, isMachineRoot || members?.isEmpty == true else { return already }
        for controller in missing {
            guard PseudoFile.write("\(path)/cgroup.subtree_control", "+\(controller)") == 0 else { break }
        }
        return handedOn
    }

    /// Makes a group below, moves processes of this one there and hands the controllers on, so that further groups can be
    /// made beside it. Nothing is changed unless that empties this group.
    ///
    /// - Parameter movable: the processes that may be moved; with any other in the group nothing is done.
    func split(into name: String, moving movable: Set<pid_t>) {
        guard let members, !members.isEmpty, isWritable, !controllers.isEmpty, movable.isSuperset(of: members) else {
            return
        }
        let below = below(name)
        guard mkdir(below.path, 0o755) == 0 || errno == EEXIST else { return }
        for pid in members where PseudoFile.write("\(below.path)/cgroup.procs", String(pid)) != 0 { return }
        handOn()
    }

    private func wanted(in file: String) -> [String] {
        let present = (PseudoFile.read("\(path)/\(file)") ?? [])
            .split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }
        return Self.wantedControllers.filter { name in present.contains { $0.elementsEqual(name.utf8) } }
    }
}
