import FoundationEssentials
import Glibc
import WireFormat

/// One bot's directory on the node: `<state>/bots/<bot id>/`, mode 0700, also the bot's working directory and home.
///
/// ```
/// config.json  workspace/     the bot's own, and whatever else it makes
/// .agent/                     the agent's: launch.plan, supervisor.json, supervisor.lock, ...
/// .agent/logs/                the segments of the bot's log
/// ```
struct BotDirectory: Sendable {
    let botID: String
    let path: String

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
    }

    static func isValid(_ botID: String) -> Bool { BotName.isValid(botID) }

    var config: String { path + "/config.json" }
    var workspace: String { path + "/workspace" }
    /// What the bot has no business with.
    var control: String { path + "/" + Self.controlName }
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
    static func path(ofLogs logs: String) -> String { PathText.normalized(logs + "/../..") }

    var lock: String { control + "/" + SupervisorState.lockName }
    var launch: String { control + "/" + LaunchPlan.fileName }
    var supervisorErrors: String { control + "/" + SupervisorState.errorFileName }
    var supervisorState: String { control + "/" + SupervisorState.fileName }
    var exitFile: String { control + "/" + ExitFile.name }
    var input: String { control + "/stdin" }
    var stopRequest: String { control + "/" + SupervisorState.stopFileName }

    static let controlName = ".agent"
    static let logsName = "logs"
    private static let fromHubName = "from-hub"

    func make() throws(RuntimeError) {
        do {
            for directory in [path, workspace, control, logs] { try Files.makeDirectory(directory, mode: 0o700) }
        } catch {
            throw RuntimeError(.storageFailed, "the directory of bot \(botID) cannot be made: \(error.reason)")
        }
    }

    /// Makes what is needed before the bot's workspace is.
    func makeControl() throws(RuntimeError) {
        do {
            for directory in [path, control] { try Files.makeDirectory(directory, mode: 0o700) }
        } catch {
            throw RuntimeError(.storageFailed, "the directory of bot \(botID) cannot be made: \(error.reason)")
        }
    }

    /// Makes the directories and writes `config.json`; an empty `configuration` keeps the one that is there.
    ///
    /// - Returns: whether the stored configuration says something else now.
    func prepare(configuration: [UInt8]) throws(RuntimeError) -> Bool {
        var wanted = configuration
        if !wanted.isEmpty, !PacketFields.isObject(wanted) {
            throw RuntimeError(
                .configurationNotJSON,
                "the configuration of bot \(botID) is not a JSON object; correct it and start the bot again"
            )
        }
        try make()
        do {
            let stored = try Files.read(config)
            if wanted.isEmpty {
                wanted = stored ?? Array("{}".utf8)
                guard PacketFields.isObject(wanted) else {
                    throw RuntimeError(
                        .configurationNotJSON,
                        "\(config) is not a JSON object; correct it and start the bot again"
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
        if !keptOfAgent.isEmpty { kept.insert(Self.controlName) }
        do throws(WorkspaceFailure) {
            try TreeRemover.empty(path, keeping: kept)
            if !keptOfAgent.isEmpty { try TreeRemover.empty(control, keeping: keptOfAgent) }
        } catch {
            throw RuntimeError(.storageFailed, "\(path) could not be removed: \(error.message)")
        }
        if remains.isEmpty { rmdir(path) }
    }
}
