import Glibc
import Logging

/// The agent's side of `holder.sock`. What waits for the holder waits on a thread of its own.
actor HolderClient {
    /// A holder that is being started or renewed is back within this time.
    private static let attempts = 50
    private static let pause = Duration.milliseconds(100)

    private let socket: LocalSocket
    private let executor = QueueExecutor(label: "edge-agent.holder")

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    init(stateDirectory: String) {
        socket = HolderSocket.at(stateDirectory)
    }

    /// Finds the holder.
    ///
    /// - Returns: nil where none runs: where none ever did at once, else after it was waited for.
    func connect() async -> HolderConnection? {
        for _ in 0..<Self.attempts {
            if let connection = connectNow() { return connection }
            // Whoever stopped in good order took its socket along.
            guard access(socket.path, F_OK) == 0 else { return nil }
            guard (try? await Task.sleep(for: Self.pause)) != nil else { return nil }
        }
        return nil
    }

    private func connectNow() -> HolderConnection? {
        socket.connect().flatMap { HolderConnection($0) }
    }

    /// Where bots' control groups are made now; nobody is waited for.
    func placement() -> BotPlacement {
        guard let holder = connectNow()?.holder else { return BotPlacement(.current(), holderPID: nil) }
        return BotPlacement(holder.layout, holderPID: holder.pid)
    }

    /// Has a holder of another version execute the program that is installed now, where that is the one that runs here.
    /// Called when the agent starts, which is what an upgrade ends with.
    func renew(_ logger: Logger) async {
        guard let connection = await connect() else { return }
        let holder = connection.holder
        let facts: Logger.Metadata = [
            "pid": "\(holder.pid)", "version": "\(holder.version)", "program": "\(holder.programPath)",
        ]
        guard let own = FileIdentity("/proc/self/exe"), holder.program != own,
            FileIdentity(holder.programPath) == own
        else {
            return logger.info("Bots are started by their holder.", metadata: facts)
        }
        let problem = connection.ask(.renew).map(\.error) ?? "it does not answer"
        guard problem.isEmpty else {
            return logger.warning(
                "The holder of the bots goes on with its former program.",
                metadata: facts.merging(["reason": "\(problem)"]) { $1 }
            )
        }
        logger.info("The holder of the bots executes the agent's program now.", metadata: facts)
    }
}

/// One conversation with the holder. Calls block for `HolderSocket.patienceSeconds` at most.
final class HolderConnection: Sendable {
    private let descriptor: Int32
    /// What it said of itself.
    let holder: HolderAnswer

    /// - Parameter descriptor: of a connected socket; closed with this object.
    /// - Returns: nil where it does not answer.
    init?(_ descriptor: Int32) {
        self.descriptor = descriptor
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
    /// - Throws: `launchFailed`.
    func spawn(
        _ program: String,
        errors: Int32,
        arguments: [String],
        environment: [String: String]
    ) throws(RuntimeError) -> ProcessIdentity {
        // As a file, not as a path: what runs here may have been replaced there.
        let file = open(program, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            throw RuntimeError(.launchFailed, "\(program) cannot be opened: \(String(errno: errno))")
        }
        defer { close(file) }
        let answer = ask(.spawn(arguments: arguments, environment: environment), files: [file, errors])
        guard let answer else {
            throw RuntimeError(
                .launchFailed,
                "the holder of the bots (pid \(holder.pid)) did not answer within \(HolderSocket.patienceSeconds) s"
            )
        }
        guard answer.error.isEmpty, let spawned = answer.spawned else {
            throw RuntimeError(
                .launchFailed,
                "the holder of the bots (pid \(holder.pid)) could not start \(program): \(answer.error)"
            )
        }
        return spawned
    }
}
