import Glibc
import Logging

/// The agent's side of `holder.sock`. What waits for the holder waits on a thread of its own.
actor HolderClient {
    /// Between two looks for a holder.
    private static let pause = Duration.milliseconds(100)
    /// It has an answer to a renewal when the new program has shown that it can hold bots.
    private static let renewalSeconds = 15

    private let socket: LocalSocket
    private let patience: Duration
    private let logger: Logger
    private let executor = QueueExecutor(label: "edge-agent.holder")
    /// It was waited for in vain, which is not done twice.
    private var isMissed = false

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameter patience: how long a holder that has ended is waited for: `RestartSec=` of its unit, and some more. One that
    ///   is renewed takes far less.
    init(stateDirectory: String, patience: Duration = .seconds(20), logger: Logger) {
        socket = HolderSocket.at(stateDirectory)
        self.logger = logger
        self.patience = patience
    }

    /// Finds the holder.
    ///
    /// - Returns: nil where none runs: at once where none ever did or it was waited for before, else after a wait.
    func connect() async -> HolderConnection? {
        let end = ContinuousClock.now + patience
        repeat {
            if let connection = connectNow() {
                isMissed = false
                return connection
            }
            // A holder leaves its socket behind; without one there never was a holder.
            guard !isMissed, access(socket.path, F_OK) == 0 else { return nil }
            guard (try? await Task.sleep(for: Self.pause)) != nil else { return nil }
        } while ContinuousClock.now < end
        isMissed = true
        logger.warning("Bots are started without their holder.", metadata: ["reason": "\(Self.absence)"])
        return nil
    }

    private func connectNow() -> HolderConnection? {
        socket.connect().flatMap { HolderConnection($0, stateDirectory: socket.directory) }
    }

    /// Where bots' control groups are made now; nobody is waited for.
    func placement() -> BotPlacement {
        if let holder = connectNow()?.holder { return BotPlacement(holder.layout, holderPID: holder.pid) }
        var layout = ControlGroupLayout.current()
        if access(socket.path, F_OK) == 0, !layout.shortfall.isEmpty { layout.shortfall = Self.absence }
        return BotPlacement(layout, holderPID: nil)
    }

    private static let absence =
        "the holder of the bots does not answer (systemctl status edge-agent-bots). Bots that run keep what they have, those "
        + "started now have less; it comes back when the last bot it had started has ended"

    /// Has a holder of another version execute the program that is installed now, where that is the one that runs here.
    /// Called when the agent starts, which is what an upgrade ends with.
    func renew() {
        let connection = connectNow()
        let placement = connection.map { BotPlacement($0.holder.layout, holderPID: $0.holder.pid) } ?? placement()
        let holder = connection.map { "\($0.holder.programPath) \($0.holder.version), pid \($0.holder.pid)" }
        let facts: Logger.Metadata = [
            "directory": "\(placement.directory ?? "none")",
            "limits": "\(placement.limits.joined(separator: ", "))",
            "holder": "\(holder ?? "none")",
            "reason": "\(placement.shortfall)",
        ]
        logger.info("control groups of bots", metadata: facts)
        guard let connection, let own = FileIdentity("/proc/self/exe"), connection.holder.program != own,
            FileIdentity(connection.holder.programPath) == own
        else { return }
        connection.wait(seconds: Self.renewalSeconds)
        let problem = connection.ask(.renew).map(\.error) ?? "it does not answer"
        if problem.isEmpty {
            logger.info("The holder of the bots executes this program now.", metadata: facts)
        } else {
            logger.warning(
                "The holder of the bots goes on with its former program.",
                metadata: ["program": "\(connection.holder.programPath)", "reason": "\(problem)"]
            )
        }
    }
}

/// One conversation with the holder. Calls block for `HolderSocket.patienceSeconds` at most.
final class HolderConnection: Sendable {
    private let descriptor: Int32
    private let stateDirectory: String
    /// What it said of itself.
    let holder: HolderAnswer

    /// - Parameter descriptor: of a connected socket; closed with this object.
    /// - Returns: nil where it does not answer.
    init?(_ descriptor: Int32, stateDirectory: String) {
        self.descriptor = descriptor
        self.stateDirectory = stateDirectory
        guard HolderSocket.send(HolderRequest.describe.encoded, to: descriptor),
            let (message, files) = HolderSocket.receive(from: descriptor),
            files.isEmpty, let answer = HolderAnswer(message), answer.error.isEmpty
        else {
            holder = HolderAnswer()
            close(descriptor)
            return nil
        }
        holder = answer
    }

    deinit { close(descriptor) }

    /// Waits longer for answers from now on.
    func wait(seconds: Int) { LocalSocket.limit(descriptor, seconds: seconds) }

    func ask(_ request: HolderRequest, files: [Int32] = []) -> HolderAnswer? {
        guard HolderSocket.send(request.encoded, files: files, to: descriptor),
            let (message, files) = HolderSocket.receive(from: descriptor)
        else { return nil }
        for file in files { close(file) }
        return HolderAnswer(message)
    }

    /// Has the holder start this program with these arguments.
    ///
    /// - Parameters:
    ///   - program: path of the program, as this process sees it.
    ///   - errors: becomes its standard output and error.
    /// - Throws: `spawnFailed`; `launchFailed` where the program is not there.
    func spawn(
        _ program: String,
        errors: Int32,
        arguments: [String],
        environment: [String: String]
    ) throws(RuntimeError) -> ProcessIdentity {
        // As a file, not as a path: what runs here may have been replaced there.
        let file = RegularFile.open(program, O_RDONLY, followsLinks: true)
        guard file >= 0 else {
            throw RuntimeError(.launchFailed, "\(program) cannot be opened: \(String(errno: errno))")
        }
        defer { close(file) }
        let proof = HolderProof.read(stateDirectory)
        let request = HolderRequest.spawn(arguments: arguments, environment: environment, proof: proof)
        let answer = ask(request, files: [file, errors])
        guard let answer else {
            throw RuntimeError(
                .spawnFailed,
                "the holder of the bots (pid \(holder.pid)) did not answer within \(HolderSocket.patienceSeconds) s"
            )
        }
        guard answer.error.isEmpty, let spawned = answer.spawned else {
            throw RuntimeError(
                .spawnFailed,
                "the holder of the bots (pid \(holder.pid)) could not start a supervisor: \(answer.error); all bots together "
                    + "may have as many processes as TasksMax= of edge-agent-bots.service says"
            )
        }
        return spawned
    }
}
