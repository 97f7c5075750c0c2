import CLinux
import FoundationEssentials
import Glibc
import WireFormat

/// One bot's directory on the node: `<state>/bots/<bot id>/`, mode 0700, also the bot's working directory and home.
///
/// ```
/// bots/<bot id>/                     the bot's own: config.json, workspace/, tmp/, and whatever else it makes
/// bots-control/<bot id>/             the agent's: launch.plan, supervisor.json, supervisor.lock, ...
/// bots-control/<bot id>/logs/        the segments of the bot's log
/// ```
/// The agent's files lie apart, so that a bot can be given its directory whole. Earlier agents kept them in `.agent` of that
/// directory; they are moved, and a link stays in their place for an agent that is put back. Nothing here follows it.
struct BotDirectory: Sendable {
    let botID: String
    let path: String
    /// What the bot has no business with.
    let control: String

    /// - Throws: `RuntimeError.invalidBotID` for an id that could name anything but a plain directory entry.
    init(root: String, botID: String) throws(RuntimeError) {
        guard Self.isValid(botID) else {
            throw RuntimeError(
                .invalidBotID,
                BotName.problem(botID)
            )
        }
        self.botID = botID
        path = root + "/" + botID
        control = Self.control(of: path)
    }

    /// Where the agent's files of the bot with this directory lie.
    static func control(of path: String) -> String {
        let (apart, former) = (apart(path), path + "/" + formerControlName)
        return isDirectory(apart) || !isDirectory(former) ? apart : former
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Takes the files of an earlier agent out of the bot's reach. Programs of its time go on by the link.
    private func moveControl() throws(Files.Failure) -> BotDirectory {
        let former = path + "/" + Self.formerControlName
        if control == former {
            let apart = Self.apart(path)
            try Files.makeDirectory(Self.folder(of: apart), mode: 0o700)
            guard rename(former, apart) == 0 else { throw Files.Failure(former) }
        }
        // Where it fails somebody else has something there, which is then theirs.
        symlink("../../" + Self.apart(path).split(separator: "/").suffix(2).joined(separator: "/"), former)
        return BotDirectory(self)
    }

    private init(_ moved: BotDirectory) {
        (botID, path, control) = (moved.botID, moved.path, Self.control(of: moved.path))
    }

    /// Moves what an earlier agent has left, of all bots. Those that run go on.
    static func moveControls(beneath root: String) {
        for botID in DirectoryNames.list(root, atMost: .max) {
            guard let directory = try? BotDirectory(root: root, botID: botID),
                directory.control.hasSuffix("/" + formerControlName)
            else { continue }
            // Where it cannot be moved it is used as it lies there.
            _ = try? directory.moveControl()
        }
    }

    private static func apart(_ path: String) -> String {
        let slash = path.lastIndex(of: "/") ?? path.startIndex
        return String(path[..<slash] + controlSuffix + path[slash...])
    }

    private static func folder(of path: String) -> String {
        String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    }

    static func isValid(_ botID: String) -> Bool { BotName.isValid(botID) }

    var config: String { path + "/config.json" }
    var workspace: String { path + "/workspace" }
    /// Where programs put what they need for a while.
    var temporary: String { path + "/tmp" }
    var logs: String { control + "/" + Self.logsName }
    /// Digests of the workspace's files, so that they need not be read again.
    var digests: String { control + "/workspace.digests" }
    /// What of the workspace came from the hub.
    var fromHub: String { control + "/" + Self.fromHubName }
    /// Workspaces on their way from another node.
    var transfers: String { control + "/transfers" }
    /// Files on their way into the workspace.
    var uploads: String { control + "/uploads" }
    /// What was removed and is being deleted.
    var removed: String { control + "/removed" }

    /// The bot's directory that has its log at `logs`.
    static func path(ofLogs logs: String) -> String {
        let control = PathText.normalized(logs + "/..")
        let (folder, name) = (folder(of: control), control.split(separator: "/").last ?? "")
        guard name != formerControlName else { return folder }
        return folder.dropLast(controlSuffix.count) + "/\(name)"
    }

    var lock: String { control + "/" + SupervisorState.lockName }
    var launch: String { control + "/" + LaunchPlan.fileName }
    var supervisorErrors: String { control + "/" + SupervisorState.errorFileName }
    var supervisorState: String { control + "/" + SupervisorState.fileName }
    var exitFile: String { control + "/" + ExitFile.name }
    var input: String { control + "/stdin" }
    var stopRequest: String { control + "/" + SupervisorState.stopFileName }

    /// Where earlier agents had it, below the bot's directory.
    static let formerControlName = ".agent"
    private static let controlSuffix = "-control"
    static let logsName = "logs"
    private static let fromHubName = "from-hub"

    func make() throws(RuntimeError) {
        do {
            try Files.makeDirectory(path, mode: 0o700)
            let moved = try moveControl()
            for directory in [workspace, temporary, moved.control, moved.logs] {
                try Files.makeDirectory(directory, mode: 0o700)
            }
        } catch {
            throw RuntimeError(.storageFailed, "the directory of bot \(botID) cannot be made: \(error.reason)")
        }
    }

    /// Makes what is needed before the bot's workspace is.
    func makeControl() throws(RuntimeError) {
        do {
            try Files.makeDirectory(path, mode: 0o700)
            try Files.makeDirectory(try moveControl().control, mode: 0o700)
        } catch {
            throw RuntimeError(.storageFailed, "the directory of bot \(botID) cannot be made: \(error.reason)")
        }
    }

    /// Makes the directories and writes `config.json`; an empty `configuration` keeps the one that is there.
    ///
    /// - Returns: whether the stored configuration says something else now.
    func prepare(configuration: [UInt8]) throws(RuntimeError) -> Bool {
        var wanted = configuration
        if !wanted.isEmpty, let fault = JSONFault.ofObject(wanted) {
            throw RuntimeError(
                .configurationNotJSON,
                "the configuration of bot \(botID) has to be a JSON object: \(fault); correct it and start the bot again"
            )
        }
        try make()
        do {
            let stored = wanted.isEmpty ? try Files.read(config) : try storedConfiguration()
            if wanted.isEmpty {
                wanted = stored ?? Array("{}".utf8)
                if let fault = JSONFault.ofObject(wanted) {
                    throw RuntimeError(
                        .configurationNotJSON,
                        "\(config) has to be a JSON object: \(fault); correct it and start the bot again"
                    )
                }
            }
            guard stored != wanted else { return false }
            try Files.replace(config, with: wanted, mode: 0o600)
            // Written otherwise, it says the same: no reason to start a bot again.
            return stored.map { !CanonicalJSON.isSame($0, wanted) } ?? true
        } catch {
            throw .wrapping(error)
        }
    }

    /// The bot may have put anything there; what is no file is taken away, because another configuration is to be written.
    private func storedConfiguration() throws(Files.Failure) -> [UInt8]? {
        do {
            return try Files.read(config)
        } catch {
            guard [ELOOP, ENXIO, EISDIR].contains(error.code) else { throw error }
            let aside = control + "/config.aside"
            // What cannot be taken away is told by what follows.
            try? TreeRemover.empty(aside, keeping: [])
            rmdir(aside)
            unlink(aside)
            guard rename(config, aside) == 0 else { throw error }
            try? TreeRemover.empty(aside, keeping: [])
            rmdir(aside)
            unlink(aside)
            return nil
        }
    }

    /// Whether a supervisor holds the lock.
    var isSupervised: Bool {
        guard let held = takeLock() else { return access(lock, F_OK) == 0 }
        close(held)
        return false
    }

    /// Takes the supervisor's lock; nil where a supervisor holds it. The caller closes the descriptor.
    func takeLock() -> Int32? {
        let descriptor = RegularFile.open(lock, O_RDWR | O_CREAT)
        guard descriptor >= 0 else { return nil }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    /// Takes the lock of a launch that is over. Whoever held it is gone, but a child that this process is just starting
    /// shares what was open here until it executes its own program.
    func takeLeftLock() async -> Int32? {
        for _ in 0..<50 {
            if let descriptor = takeLock() { return descriptor }
            // `try?`: cancelled, what is left is tried without waiting.
            try? await Task.sleep(for: .milliseconds(10))
        }
        return nil
    }

    // An unreadable or damaged file is as good as none: it only ever describes the launch before.

    func readPlan() -> LaunchPlan? {
        (try? Files.read(launch)).flatMap { LaunchPlan($0) }
    }

    /// Whether a plan came here with a copy of the directory that it was written for, and that one is still there. Where it is
    /// not, this is the same directory at another place.
    func isCopied(_ plan: LaunchPlan) -> Bool {
        var (written, here) = (stat(), stat())
        guard let place = plan.environment["BOT_WORKSPACE"], place != workspace, stat(place, &written) == 0 else {
            return false
        }
        guard stat(workspace, &here) == 0 else { return true }
        return written.st_dev != here.st_dev || written.st_ino != here.st_ino
    }

    func readSupervisorState() -> SupervisorState? {
        guard let bytes = try? Files.read(supervisorState) else { return nil }
        return try? OutsideJSON.decode(SupervisorState.self, from: bytes)
    }

    /// Removes the bot's files but those named. Never follows a symbolic link.
    func remove(keeping remains: BotRemains) throws(RuntimeError) {
        var kept: Set<String> = []
        var keptOfAgent: Set<String> = []
        if remains.contains(.workspace) {
            kept.insert("workspace")
            // A workspace without it would count as the bot's own.
            keptOfAgent.insert(Self.fromHubName)
        }
        if remains.contains(.log) { keptOfAgent.insert(Self.logsName) }
        if !keptOfAgent.isEmpty { kept.insert(Self.formerControlName) }
        var problems: [String] = []
        for (place, kept) in [(path, kept), (control, keptOfAgent)] {
            do throws(WorkspaceFailure) {
                try TreeRemover.empty(place, keeping: kept)
            } catch {
                problems.append("of \(place), \(error.message)")
            }
        }
        guard problems.isEmpty else {
            throw RuntimeError(
                .storageFailed,
                problems.joined(separator: "; ") + "; unmount or release what stays, and remove the bot again"
            )
        }
        if !remains.contains(.log) { rmdir(control) }
        if remains.isEmpty { rmdir(path) }
    }
}
