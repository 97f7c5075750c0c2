import Glibc
import WireFormat

/// Another agent that runs on this machine as the same node, from a copy of the state directory.
///
/// The hub tells machines apart and not directories of one machine: both would have the same bots, and each would end what the other
/// starts.
struct IdentityTwin: Equatable {
    let pid: Int32
    let directory: String

    private static let program = "edge-agent"
    private static let maximumFiles = 4096

    /// Agents of other users are only seen by root, and one in another container by nobody.
    ///
    /// - Parameter token: an agent is one of this node where it has the node's secret; ids anybody knows.
    static func find(of nodeID: String, token: Secret, processes: String = "/proc") -> IdentityTwin? {
        guard !nodeID.isEmpty else { return nil }
        for name in DirectoryNames.list(processes, atMost: 1 << 20) {
            guard let pid = Int32(decimal: name), pid != getpid(), isAgent("\(processes)/\(name)/exe"),
                !isOfOtherMachine("\(processes)/\(name)/root")
            else { continue }
            for file in DirectoryNames.list("\(processes)/\(name)/fd", atMost: maximumFiles) {
                guard let path = SymbolicLink.target("\(processes)/\(name)/fd/\(file)"), path.hasSuffix("/agent.lock")
                else {
                    continue
                }
                let directory = String(path.dropLast("/agent.lock".count))
                // As that process sees it, which may be in a container of this machine.
                let seen = StateDirectory(existing: "\(processes)/\(name)/root\(directory)")
                // `try?`: what cannot be read proves nothing.
                guard let other = (try? IdentityStore(directory: seen).load()) ?? nil, other.nodeID == nodeID,
                    other.token == token || other.nextToken == token
                else { continue }
                return IdentityTwin(pid: pid, directory: directory)
            }
        }
        return nil
    }

    /// A container may be a machine of its own to who runs it, and to the hub, which tells both apart.
    private static func isOfOtherMachine(_ root: String) -> Bool {
        // `try?`: what cannot be read tells nothing apart.
        guard let theirs = (try? Files.read(root + "/etc/machine-id")) ?? nil,
            let ours = (try? Files.read("/etc/machine-id")) ?? nil
        else { return false }
        return theirs != ours
    }

    private static func isAgent(_ link: String) -> Bool {
        guard let path = SymbolicLink.target(link) else { return false }
        // As the kernel names one that was replaced meanwhile.
        let words = path.hasSuffix(" (deleted)") ? String(path.dropLast(" (deleted)".count)) : path
        return words.split(separator: "/").last.map { $0 == program } ?? false
    }

    /// Throws where there is one.
    static func requireNone(in directory: StateDirectory, _ credential: (token: Secret, nodeID: String))
        throws(AgentError)
    {
        guard let twin = find(of: credential.nodeID, token: credential.token) else { return }
        throw .stateDirectory(
            directory.path,
            "is a copy of \(twin.directory), from which an edge-agent (pid \(twin.pid)) runs on this machine as the same node; stop that "
                + "one first, or make this a node of its own with `edge-agent enroll --again --hub URL --code CODE`"
        )
    }
}
