import Glibc
import WireFormat

/// Gathers the status inside the running agent.
struct RunningStatus: Sendable {
    let stateDirectory: String
    let place: @Sendable () -> HubPlace
    let link: LinkStatus
    let bots: BotFleet
    let journal: Journal
    let policy: PolicyRegistry
    let holder: HolderClient
    private let startedAt = Journal.wallClock()

    init(
        stateDirectory: String,
        place: @escaping @Sendable () -> HubPlace,
        link: LinkStatus,
        bots: BotFleet,
        journal: Journal,
        policy: PolicyRegistry,
        holder: HolderClient
    ) {
        self.stateDirectory = stateDirectory
        self.place = place
        self.link = link
        self.bots = bots
        self.journal = journal
        self.policy = policy
        self.holder = holder
    }

    func report() async -> StatusReport {
        let link = link.snapshot
        let place = place()
        let names = await bots.names()
        let statuses = await bots.statuses()
        var report = StatusReport(
            agent: .init(
                isRunning: true,
                pid: getpid(),
                version: AgentVersion.current,
                sinceUnixMs: startedAt,
                stateDirectory: stateDirectory
            ),
            link: Self.link(link),
            hub: .init(url: place.url, version: link.welcome?.hubVersion),
            node: .init(id: link.welcome?.nodeID ?? place.nodeID, name: link.welcome?.nodeName ?? place.nodeName),
            bots: statuses.map { Self.bot($0, name: names[$0.botID] ?? "") },
            disk: DiskStatus.read(stateDirectory),
            problems: await bots.problems(stateDirectory: stateDirectory).map(StatusReport.Problem.init),
            placement: await holder.placement(),
            policyFile: policy.current.file
        )
        do {
            report.journal = try await journal.depth()
        } catch {
            report.journalProblem = "\(error)"
        }
        return report
    }

    private static func link(_ link: LinkStatus.Snapshot) -> StatusReport.Link {
        let state: StatusReport.Link.State =
            switch link.phase {
            case .connecting: .connecting
            case .connected: .connected
            case .waiting: .waiting
            case .credentialProblem: .credentialProblem
            }
        return StatusReport.Link(
            state: state,
            sinceUnixMs: link.sinceUnixMilliseconds,
            fault: link.isConnected ? .none : link.fault,
            reason: link.isConnected ? "" : link.reason,
            failedTries: link.failedTries,
            nextTrySeconds: link.nextTryAt.map { max(0, ($0 - .now) / .seconds(1)) },
            sessionEpoch: link.welcome?.sessionEpoch,
            roundTripMs: link.roundTrip.map { $0 / .milliseconds(1) },
            clockOffsetMs: link.hubOffsetMilliseconds
        )
    }

    private static func bot(_ status: WireBotStatus, name: String) -> StatusReport.Bot {
        StatusReport.Bot(
            id: status.botID,
            name: name,
            phase: status.phase.word,
            reason: status.reason,
            sinceUnixMs: status.sinceUnixMs,
            pid: status.pid > 0 ? Int32(exactly: status.pid) : nil,
            restarts: status.restartCount,
            isolation: status.isolation.isEmpty ? nil : status.isolation.compactMap(IsolationInForce.init)
        )
    }
}

/// Gathers what can be known while no agent runs: from the files it left. Makes and changes none.
enum LeftStatus {
    static func report(_ configuration: AgentConfiguration) throws(AgentError) -> StatusReport {
        let path = configuration.stateDirectory
        guard access(path, F_OK) != 0 || access(path, R_OK | X_OK) == 0 else {
            throw AgentError(
                .noPermission,
                "state directory \(path) cannot be read by this user; run this as the agent's user, for instance: "
                    + "sudo -u edge-agent edge-agent status"
            )
        }
        let directory = StateDirectory(existing: path)
        let identity = access(path, F_OK) == 0 ? try IdentityStore(directory: directory).load() : nil
        let isPaired = identity != nil || configuration.token != nil
        var report = StatusReport(
            agent: .init(isRunning: false, version: AgentVersion.current, stateDirectory: directory.path),
            link: .init(
                state: isPaired ? .noAgent : .notPaired,
                fault: isPaired ? .node : .pairing,
                reason: isPaired
                    ? "no agent runs on this state directory; start it with `edge-agent run` or systemctl start edge-agent"
                    : "this node is not paired yet; run `edge-agent enroll --hub URL --code CODE`",
                failedTries: 0
            ),
            hub: (identity?.hubURL ?? configuration.hubURL).map { .init(url: $0) },
            node: identity.map { .init(id: $0.nodeID, name: $0.nodeName) },
            bots: [],
            disk: DiskStatus.read(directory.path),
            problems: NodeProblems.find(stateDirectory: directory.path).map(StatusReport.Problem.init),
            // `try?`: one that cannot be used keeps the next agent from starting, which says why.
            policyFile: (try? PolicyFile.load(configuration.policyFile))?.file
        )
        do {
            if let left = try JournalPeek.read(directory.file("journal.sqlite"), budgetBytes: 256 << 20) {
                report.journal = left.depth
                report.bots = left.bots.map { bot($0.key, $0.value, directory) }.sorted { $0.id < $1.id }
            }
        } catch {
            report.journalProblem = "\(error)"
        }
        let known = Set(report.bots.map(\.id))
        report.bots += unrecorded(directory).filter { !known.contains($0.id) }
        return report
    }

    /// What lies on the disk of bots, whatever the journal says, or where there is none.
    private static func unrecorded(_ directory: StateDirectory) -> [StatusReport.Bot] {
        DirectoryNames.list(directory.file("bots")).filter(BotName.isValid).sorted().map { botID in
            let state = (try? BotDirectory(root: directory.file("bots"), botID: botID))?.readSupervisorState()
            let isAlive = state?.supervisor.isAlive == true
            return StatusReport.Bot(
                id: botID,
                name: "",
                phase: isAlive ? "running" : "unknown",
                reason: "the journal does not name it; its directory is here",
                pid: isAlive ? state?.bot.pid : nil,
                restarts: 0
            )
        }
    }

    private static func bot(_ botID: String, _ bytes: [UInt8], _ directory: StateDirectory) -> StatusReport.Bot {
        let record = BotRecord(bytes)
        let state = (try? BotDirectory(root: directory.file("bots"), botID: botID))?.readSupervisorState()
        let isAlive = state?.supervisor.isAlive == true
        let (phase, reason) =
            isAlive
            ? ("running", "runs on without the agent")
            : record == nil
                ? ("unknown", "its record is damaged; start it again from the hub")
                : record?.failure.map { ("failed", $0) }
                    ?? (record?.shouldRun == true
                        ? ("stopped", "the agent starts it again when it runs") : ("stopped", ""))
        return StatusReport.Bot(
            id: botID,
            name: record?.name ?? "",
            phase: phase,
            reason: reason,
            pid: isAlive ? state?.bot.pid : nil,
            restarts: record?.restartCount ?? 0,
            isolation: isAlive ? record?.launch?.isolation : nil
        )
    }
}

enum DiskStatus {
    /// Of the file system with the state directory; nil where it cannot be asked.
    static func read(_ stateDirectory: String) -> StatusReport.Disk? {
        guard let space = DiskUsageReader.spaceOfFileSystem(at: stateDirectory) else { return nil }
        var logs: UInt64 = 0
        for bot in DirectoryNames.list(stateDirectory + "/bots") {
            guard let directory = try? BotDirectory(root: stateDirectory + "/bots", botID: bot).logs else { continue }
            for segment in LogSegments.list(directory) {
                var status = stat()
                if stat(segment.path, &status) == 0 { logs &+= UInt64(clamping: max(0, status.st_size)) }
            }
        }
        return StatusReport.Disk(availableBytes: space.availableBytes, totalBytes: space.totalBytes, logBytes: logs)
    }
}

extension StatusReport.Problem {
    init(_ problem: WireNodeProblem) {
        self.init(code: problem.code, message: problem.message)
    }
}

extension WireBotPhase {
    /// The phase as the hub's API says it.
    var word: String {
        switch self {
        case .stopped: "stopped"
        case .starting: "starting"
        case .ready: "ready"
        case .stopping: "stopping"
        case .backoff: "backoff"
        case .failed: "failed"
        case .unspecified, .UNRECOGNIZED: "unknown"
        }
    }
}
