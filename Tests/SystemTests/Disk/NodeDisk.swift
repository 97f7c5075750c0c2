import Foundation
import Glibc

@testable import EdgeAgent

/// The bots' directories on one machine: real ones, small, on a file system in memory where there is one.
///
/// Agents and bots are nobody in particular here, also where the tests are run by root: rights over files are a thread's own, and
/// every simulation has a thread of its own. What is compared is read with all rights there are.
final class NodeDisk {
    static let agent: uid_t = geteuid() == 0 ? 65534 : geteuid()
    /// Nothing is told by clocks of this machine.
    static let epochSeconds = 1_700_000_000

    /// Of all disks of a simulation.
    let base: String
    let root: String
    var bots: String { root + "/bots" }

    init(base: String, name: String) {
        self.base = base
        root = base + "/" + name
        Self.makeDirectory(base, 0o755)
        Self.makeDirectory(root, 0o755)
        Self.give(root)
        asAgent { Self.makeDirectory(bots, 0o700) }
    }

    /// Where the disks of a simulation lie; nothing is there yet. Always of the same length, because paths stand in messages.
    static func newBase(seed: UInt64) -> String {
        let memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NSTemporaryDirectory()
        func padded(_ value: UInt64) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: max(0, 16 - digits.count)) + digits
        }
        let base = "\(memory)/simulated-\(padded(UInt64(getpid())))-\(padded(seed))"
        remove(base)
        return base
    }

    // MARK: - Rights

    private static let setUser: (@convention(c) (uid_t) -> Int32)? = {
        guard geteuid() == 0, let symbol = dlsym(nil, "setfsuid") else { return nil }
        return unsafeBitCast(symbol, to: (@convention(c) (uid_t) -> Int32).self)
    }()

    /// With the rights of the agent's user, on this thread.
    func asAgent(_ body: () -> Void) {
        _ = Self.setUser?(Self.agent)
        body()
        _ = Self.setUser?(0)
    }

    /// With all rights there are, within `asAgent`.
    func asRoot(_ body: () -> Void) {
        _ = Self.setUser?(0)
        body()
        _ = Self.setUser?(Self.agent)
    }

    func give(_ path: String) { Self.give(path) }

    private static func give(_ path: String) {
        if geteuid() == 0 { lchown(path, agent, 0) }
    }

    static func makeDirectory(_ path: String, _ mode: mode_t) {
        mkdir(path, mode)
        chmod(path, mode)
    }

    // MARK: - Bots

    func workspace(_ bot: String) -> String { "\(bots)/\(bot)/workspace" }

    func hasWorkspace(_ bot: String) -> Bool { access(workspace(bot), F_OK) == 0 }

    /// As the agent does before a start and before a transfer.
    func prepare(_ bot: String, withWorkspace: Bool = true) {
        asAgent {
            let directory = "\(bots)/\(bot)"
            Self.makeDirectory(directory, 0o700)
            if withWorkspace, !hasWorkspace(bot) { Self.makeDirectory(workspace(bot), 0o700) }
            let control = "\(bots)-control"
            Self.makeDirectory(control, 0o700)
            Self.makeDirectory("\(control)/\(bot)", 0o700)
            // Nothing can be put in its place: what is known of files goes by the clock of this machine, and would make two courses of
            // the same seed differ.
            Self.makeDirectory("\(control)/\(bot)/workspace.digests", 0o700)
        }
    }

    /// The bot writes down how much it was told.
    func remember(_ bot: String, _ count: Int) {
        asAgent { Self.write(workspace(bot) + "/memory", Array("\(count)".utf8), at: count) }
    }

    func remembered(_ bot: String) -> Int {
        (FileManager.default.contents(atPath: workspace(bot) + "/memory")).flatMap {
            Int(String(decoding: $0, as: UTF8.self))
        } ?? 0
    }

    /// Writes a file as a whole, and gives it a time.
    static func write(_ path: String, _ bytes: [UInt8], at second: Int) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { return }
        _ = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        futimens(descriptor, StagedFile.times(Int64(epochSeconds + second) * 1_000_000_000))
        close(descriptor)
    }

    /// Directories change with what lies in them, by the clock of this machine: they get a time that is always the same.
    func settle(_ bot: String) {
        let place = workspace(bot)
        let times = StagedFile.times(Int64(Self.epochSeconds) * 1_000_000_000)
        for (path, entry) in listing(bot).entries where entry.kind == "d" {
            utimensat(AT_FDCWD, place + "/" + path, times, AT_SYMLINK_NOFOLLOW)
        }
        utimensat(AT_FDCWD, place, times, AT_SYMLINK_NOFOLLOW)
    }

    /// All there is in a workspace, whoever may read it.
    func listing(_ bot: String) -> WorkspaceListing { WorkspaceListing(workspace(bot)) }

    // MARK: - Copies

    /// A disk with the same content.
    func copied(as name: String) -> NodeDisk {
        let copy = NodeDisk(base: base, name: name)
        copy.replace(with: self)
        return copy
    }

    /// It holds what another does.
    func replace(with other: NodeDisk) {
        Self.remove(root)
        TreeCopy.copy(other.root, to: root)
    }

    /// Removes a tree, with what is mounted in it.
    static func remove(_ path: String) {
        SimulatedMount.unmountAll(beneath: path)
        TreeCopy.remove(path)
    }
}

/// Copies and removes trees, with nothing of what is tested.
enum TreeCopy {
    static func copy(_ source: String, to target: String) {
        guard let facts = WorkspaceListing.facts(source) else { return }
        if facts.isDirectory {
            mkdir(target, 0o700)
            WorkspaceListing.opened(source, facts) {
                for name in WorkspaceListing.names(source) { copy(source + "/" + name, to: target + "/" + name) }
            }
        } else if facts.isSymlink {
            symlink(WorkspaceListing.linkText(source), target)
        } else if facts.isFile {
            WorkspaceListing.opened(source, facts) {
                NodeDisk.write(target, Array(FileManager.default.contents(atPath: source) ?? Data()), at: 0)
            }
        } else {
            mkfifo(target, 0o600)
        }
        if geteuid() == 0 { lchown(target, facts.user, 0) }
        if !facts.isSymlink { chmod(target, mode_t(facts.permissions)) }
        utimensat(AT_FDCWD, target, StagedFile.times(facts.modifiedNanoseconds), AT_SYMLINK_NOFOLLOW)
    }

    static func remove(_ path: String) {
        guard let facts = WorkspaceListing.facts(path) else { return }
        guard facts.isDirectory else {
            unlink(path)
            return
        }
        chmod(path, 0o700)
        for name in WorkspaceListing.names(path) { remove(path + "/" + name) }
        rmdir(path)
    }
}
