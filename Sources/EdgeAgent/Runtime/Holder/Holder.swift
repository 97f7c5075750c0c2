import CLinux
import Glibc
import Logging
import ServiceReport
import WireFormat

/// The small process whose control group bots live in: `edge-agent hold`, run by `edge-agent-bots.service`.
///
/// A group that hands on controllers cannot hold processes, and systemd starts an agent in its unit's group itself, so an
/// agent that may be restarted beside its bots cannot have their groups below its own. Nor can it move processes into the
/// tree of another unit, unless it is root. So the holder, which is in a unit of its own, steps aside into a subgroup and
/// starts the supervisors when the agent asks.
///
/// ```
/// step aside, hand on controllers ─► listen ─► describe, spawn ─► ... ──SIGTERM──► stop the supervisors, exit
///                                       ▲          └─renew─► execute the program that is installed now, same pid
///                                       └────────────────────────┘
/// ```
/// It knows nothing of bots and keeps nothing in memory that matters: supervisors are its children, before and after it was
/// renewed, and go on when it dies. Single-threaded.
struct Holder {
    /// How the process is started once its settings are known; people type `edge-agent hold`.
    static let command = "hold-in"
    /// Held (flock) for as long as the holder lives.
    private static let lockName = "holder.lock"
    private static let maximumWaiting = 16
    /// Supervisors that were asked to stop are waited for this long; then the service manager has its way.
    private static let stopLimitMilliseconds: UInt64 = 50_000
    /// How long a new program may take over saying that it can be a holder.
    private static let checkLimitMilliseconds: UInt64 = 10_000

    private static let logger = Logger(label: "edge-agent.hold") { JSONLogHandler(label: $0, logLevel: .info) }

    private let stateDirectory: String
    /// Where this program was when it was started.
    private let programPath: String
    private let program: FileIdentity?
    private let layout: ControlGroupLayout
    private let proof: String
    private let signals: Int32
    private var listener: Int32
    /// The socket's file, to notice that it is gone.
    private var socketFile: FileIdentity?
    private static let lookMilliseconds: Int32 = 30_000

    /// Runs in place of the agent's own `main`.
    static func main(_ arguments: [String]) -> Never {
        guard let stateDirectory = arguments.first else { exit(64) }
        CLinux_close_from(3)
        CLinux_set_thread_name("edge-hold")
        let lock = RegularFile.open("\(stateDirectory)/\(lockName)", O_RDWR | O_CREAT)
        guard lock >= 0 else { fail("\(stateDirectory)/\(lockName) cannot be opened: \(String(errno: errno))", 73) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            fail("another holder already runs for \(stateDirectory); stop that one first", 75)
        }
        guard var holder = Holder(stateDirectory) else {
            fail("\(HolderSocket.at(stateDirectory).path) cannot be made: \(String(errno: errno))", 73)
        }
        holder.run()
    }

    private init?(_ stateDirectory: String) {
        self.stateDirectory = stateDirectory
        programPath = SymbolicLink.target("/proc/self/exe") ?? ""
        program = FileIdentity("/proc/self/exe")
        if let own = ControlGroupPlaces.current().unified.first.map({ ControlGroup($0) }),
            own.name != ControlGroupLayout.holderSubgroup
        {
            own.split(into: ControlGroupLayout.holderSubgroup, moving: [getpid()])
        }
        layout = .current()
        // Without one nothing is started, and the agent's log says why.
        proof = (try? HolderProof.readOrMake(stateDirectory)) ?? ""
        signals = CLinux_signalfd_create([SIGTERM, SIGINT, SIGCHLD, 0])
        guard let listener = HolderSocket.at(stateDirectory).listen(waiting: Self.maximumWaiting) else { return nil }
        self.listener = listener
        socketFile = FileIdentity(HolderSocket.at(stateDirectory).path)
    }

    /// Somebody who tidied up the state directory must not cost the bots their limits until the next boot.
    private mutating func lookAfterSocket() {
        let socket = HolderSocket.at(stateDirectory)
        guard socketFile != FileIdentity(socket.path), let new = socket.listen(waiting: Self.maximumWaiting) else {
            return
        }
        close(listener)
        listener = new
        socketFile = FileIdentity(socket.path)
    }

    private mutating func run() -> Never {
        signal(SIGPIPE, SIG_IGN)
        signal(SIGHUP, SIG_IGN)
        let limits = layout.bases[ControlGroupLayout.unified].map { ControlGroup($0).handOn() } ?? []
        let controllers = limits.isEmpty ? "none" : limits.joined(separator: " ")
        ServiceManager.notify("READY=1\nSTATUS=Controllers of bots' control groups: \(controllers)")
        Self.logger.info(
            "The holder of this node's bots is ready.",
            metadata: [
                "controllers": "\(controllers)", "reason": "\(layout.shortfall)", "version": "\(AgentVersion.current)",
            ]
        )
        // From here on it mostly waits, and needs little of what brought it here.
        ProgramMemory.giveBack()
        while true {
            var wanted = (
                pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
                pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            )
            let ready = withUnsafeMutableBytes(of: &wanted) {
                poll($0.baseAddress?.assumingMemoryBound(to: pollfd.self), 2, Self.lookMilliseconds)
            }
            guard ready >= 0 || errno == EINTR else { Self.fail("cannot wait: \(String(errno: errno))", 70) }
            takeSignals()
            if ready == 0 { lookAfterSocket() }
            if wanted.1.revents != 0 { serve() }
        }
    }

    private func takeSignals() {
        while true {
            let number = CLinux_signalfd_read(signals)
            if number < 0 { break }
            if number == SIGTERM || number == SIGINT { stop() }
        }
        while waitpid(-1, nil, WNOHANG) > 0 {}
    }

    // MARK: Requests

    /// Takes the requests of one caller. A caller is answered at once or waited for shortly, so others wait no longer.
    private func serve() {
        let caller = accept(listener, nil, nil)
        guard caller >= 0 else { return }
        defer { close(caller) }
        _ = fcntl(caller, F_SETFD, FD_CLOEXEC)
        HolderSocket.at(stateDirectory).limit(caller)
        while let (message, files) = HolderSocket.receive(from: caller) {
            defer { for file in files { close(file) } }
            guard let request = HolderRequest(message) else {
                _ = HolderSocket.send(HolderAnswer(error: "this request is not known here").encoded, to: caller)
                return
            }
            let answer = answer(request, files)
            guard HolderSocket.send(answer.encoded, to: caller) else { return }
            if request == .renew, answer.error.isEmpty { becomeInstalledProgram() }
        }
    }

    private func answer(_ request: HolderRequest, _ files: [Int32]) -> HolderAnswer {
        switch request {
        case .describe:
            var answer = HolderAnswer()
            answer.pid = getpid()
            answer.version = AgentVersion.current
            answer.program = program
            answer.programPath = programPath
            answer.layout = layout
            return answer
        case .spawn(let arguments, let environment, let given):
            guard HolderProof.isRight(given, proof) || !Defence.holderProof.isUp else {
                return HolderAnswer(
                    error: "who asks has not shown that it can read \(HolderProof.fileName) in \(stateDirectory)"
                )
            }
            return spawn(arguments, environment, files)
        case .renew:
            let problem = checkInstalledProgram()
            if let problem {
                Self.logger.error("The holder goes on with its former program.", metadata: ["reason": "\(problem)"])
            }
            return HolderAnswer(error: problem ?? "")
        }
    }

    private func spawn(_ arguments: [String], _ environment: [String: String], _ files: [Int32]) -> HolderAnswer {
        guard files.count == 2, !arguments.isEmpty else {
            return HolderAnswer(error: "a program to start needs arguments, its file and its output")
        }
        var pid: pid_t = 0
        let code = SupervisorProcess.spawn(
            "/proc/self/fd/\(files[0])",
            &pid,
            errors: files[1],
            arguments: arguments,
            environment: environment
        )
        guard code == 0 else { return HolderAnswer(error: String(errno: code)) }
        var answer = HolderAnswer()
        // It is not waited for before this is answered, so its number is still its own.
        answer.spawned = ProcessIdentity.current(pid)
        return answer
    }

    // MARK: A new program

    /// Whether the installed program can be a holder.
    ///
    /// - Returns: why it cannot be, or nil.
    private func checkInstalledProgram() -> String? {
        let nowhere = PseudoFile.open("/dev/null", O_WRONLY)
        guard nowhere >= 0 else { return "/dev/null: \(String(errno: errno))" }
        defer { close(nowhere) }
        var pid: pid_t = 0
        let code = SupervisorProcess.spawn(
            programPath,
            &pid,
            errors: nowhere,
            arguments: ["hold", "--check"],
            environment: [:]
        )
        guard code == 0 else { return "\(programPath): \(String(errno: code))" }
        var status: Int32 = 0
        let limit = MonotonicTime.milliseconds() + Self.checkLimitMilliseconds
        while waitpid(pid, &status, WNOHANG) == 0 {
            guard MonotonicTime.milliseconds() < limit else {
                kill(pid, SIGKILL)
                waitpid(pid, nil, 0)
                return "\(programPath) hold --check does not end"
            }
            poll(nil, 0, 20)
        }
        return status == 0 ? nil : "\(programPath) hold --check failed; it is no edge-agent that can hold bots"
    }

    /// Executes the installed program with the same pid. Everything this process has is made anew or stays: the children, the
    /// group, and the service manager's opinion of it.
    private func becomeInstalledProgram() {
        Self.logger.info(
            "The holder executes the program that is installed now.",
            metadata: ["program": "\(programPath)"]
        )
        _ = CStringArray.with(["edge-agent", Self.command, stateDirectory]) { execv(programPath, $0) }
        Self.logger.error(
            "The holder goes on with its former program.",
            metadata: ["reason": "\(String(errno: errno))"]
        )
    }

    // MARK: The end

    /// The service manager stops the holder when the machine goes down, or when it is to go for good: the bots are stopped,
    /// each in its own way.
    private func stop() -> Never {
        ServiceManager.notify("STOPPING=1")
        var asked: Set<ProcessIdentity> = []
        let limit = MonotonicTime.milliseconds() + Self.stopLimitMilliseconds
        while MonotonicTime.milliseconds() < limit {
            while waitpid(-1, nil, WNOHANG) > 0 {}
            let left = supervisors()
            if left.isEmpty { break }
            for supervisor in left where asked.insert(supervisor).inserted { supervisor.signal(SIGTERM) }
            poll(nil, 0, 50)
        }
        // Its socket stays: it says that there is a holder to wait for.
        exit(0)
    }

    /// Also those that a holder before this one has started.
    private func supervisors() -> [ProcessIdentity] {
        let beside = layout.bases[ControlGroupLayout.unified].map {
            ControlGroup($0).below(ControlGroupLayout.holderSubgroup).members ?? []
        }
        let children = SystemProcesses.all().filter { $0.parent == getpid() }.map(\.pid)
        return Set((beside ?? []) + children).filter { $0 > 0 && $0 != getpid() }
            .compactMap { ProcessIdentity.current($0) }.filter(\.isAlive)
    }

    // MARK: Small things

    private static func fail(_ message: String, _ status: Int32) -> Never {
        logger.error("\(message)")
        exit(status)
    }
}
