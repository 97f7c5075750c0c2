import FoundationEssentials
import SwiftProtobuf
import WireFormat

/// What the fleet tells about its bots.
extension BotFleet {
    /// Every bot this node holds.
    func statuses() -> [WireBotStatus] {
        bots.values.map(status).sorted { $0.botID < $1.botID }
    }

    /// The workspaces that no bot of this node's has: carried here and never started, or kept when the bot was removed.
    func keptWorkspaces() async -> [WireKeptWorkspace] {
        var found: [WireKeptWorkspace] = []
        for botID in await backends[.native]?.workspaces() ?? [] where bots[botID] == nil {
            guard found.count < WireBounds.bots else { break }
            // An epoch that cannot be read: that the workspace is here is worth saying all the same.
            let epoch = try? await journal.highestEpoch(botID)
            var kept = WireKeptWorkspace()
            kept.botID = botID
            kept.placementEpoch = epoch ?? 0
            found.append(kept)
        }
        return found
    }

    /// Every bot, and a number that grows with each change of any of them.
    func report() -> WireBotStatusReport {
        var report = WireBotStatusReport()
        report.bots = statuses()
        report.revision = changed.ticket
        return report
    }

    /// The bot as it is now and the number of this state.
    func present(_ botID: String) -> (status: WireBotStatus, revision: UInt64)? {
        bots[botID].map { (status($0), changed.ticket) }
    }

    /// What a bot is, for a hub that is to take it over: how it was started last, and its configuration as it lies here. Its
    /// environment may be secret, and stays.
    ///
    /// - Throws: `botNotFound`, `storageFailed` where the configuration cannot be read.
    func specification(of botID: String) throws(RuntimeError) -> WireBotSpecification {
        guard let record = bots[botID]?.record else {
            throw RuntimeError(.botNotFound, "this node holds no bot \(botID)")
        }
        let configuration: [UInt8]?
        do {
            configuration = try Files.read(try botDirectory(botID) + "/config.json")
        } catch {
            throw .wrapping(error)
        }
        return .with {
            $0.botID = botID
            $0.name = record.name
            $0.runtimeProfile = record.profile
            $0.placementEpoch = record.placementEpoch
            $0.configJson = Data(configuration ?? [])
            $0.image = record.overrides?.image ?? ""
            $0.restartPolicy = record.overrides?.restart?.rawValue ?? ""
        }
    }

    /// What the operator calls each bot.
    func names() -> [String: String] { bots.mapValues(\.record.name) }

    /// Where the processes of the running bots are found.
    func processRoots() async -> [BotProcessRoot] {
        var roots: [BotProcessRoot] = []
        for bot in bots.values {
            guard let handle = bot.handle, let backend = try? backend(bot) else { continue }
            if let root = await backend.usage(handle) { roots.append(root) }
        }
        return roots
    }

    /// The use of running bots whose processes cannot be seen, as their backend tells it.
    func measuredUsages() async -> [WireBotUsage] {
        var usages: [WireBotUsage] = []
        for bot in bots.values {
            guard let handle = bot.handle, let backend = try? backend(bot), await backend.usage(handle) == nil,
                let usage = await backend.measuredUsage(handle)
            else { continue }
            usages.append(usage)
        }
        return usages
    }

    /// How the running launch is doing, as its backend sees it.
    func launchStatus(_ botID: String) async -> LaunchStatus? {
        guard let bot = bots[botID] else { return nil }
        return await (try? backend(bot))?.status(botID: botID)
    }

    /// Whether the profile can be used here, and if not, why.
    func probe(_ profile: RuntimeProfile) async -> WireRuntimeProfile { await backends.probe(profile) }

    /// Every profile of the node, and whether it can be used.
    func runtimeProfiles() async -> [WireRuntimeProfile] {
        var answers: [WireRuntimeProfile] = []
        for profile in profiles { answers.append(await probe(profile)) }
        return answers
    }

    /// The lines a request asks for, pulled one chunk at a time.
    func logs(_ request: WireLogRequest) throws(RuntimeError) -> BotLog {
        return BotLog(
            directory: try bots[request.botID] == nil ? keptLog(request.botID) : logDirectory(request.botID),
            request: request,
            notifier: notifier,
            executor: executor
        )
    }

    /// Of a bot that was removed and whose log was kept.
    private func keptLog(_ botID: String) throws(RuntimeError) -> String {
        guard let directory = try? backends[.native]?.logs(botID: botID), !LogSegments.list(directory).isEmpty else {
            throw Self.notFound(botID)
        }
        return directory
    }

    /// What is wrong where the agent keeps its files. Here, because asking a disk may take long, and this actor's
    /// thread is made for it.
    func problems(stateDirectory: String) -> [WireNodeProblem] {
        NodeProblems.find(
            stateDirectory: stateDirectory,
            journalFailure: bots.values.lazy.compactMap(\.storageProblem).first
        )
    }

    private func storageNote(_ bot: Bot) -> String? {
        bot.storageProblem.map { "its packets wait in its log until they can be stored: \($0)" }
    }

    func status(_ bot: Bot) -> WireBotStatus {
        var status = WireBotStatus()
        status.botID = bot.botID
        status.phase = bot.phase
        status.reason = [bot.reason, note(bot), storageNote(bot)].compactMap { $0 }.filter { !$0.isEmpty }.joined(
            separator: "; "
        )
        status.sinceUnixMs = bot.sinceUnixMilliseconds
        status.launchID = bot.record.launch?.launchID ?? ""
        status.pid = bot.handle == nil ? 0 : Int64(clamping: bot.record.launch?.bot?.pid ?? 0)
        status.placementEpoch = bot.record.placementEpoch
        status.restartCount = bot.record.restartCount
        status.runtimeProfile = bot.record.profile
        status.reasonCode = bot.reasonCode?.rawValue ?? ""
        status.restartPolicy = (try? effectiveProfile(bot))?.restart.rawValue ?? ""
        status.nextStartUnixMs = bot.phase == .backoff ? bot.nextStartUnixMilliseconds : 0
        status.chatPort = UInt32(clamping: bot.record.chatPort)
        // While it runs this would be another one with every line.
        if bot.handle == nil {
            status.logEnd = bot.logPosition ?? (try? logDirectory(bot.botID)).map(LogSegments.endOffset) ?? 0
        }
        if bot.handle != nil {
            status.limits = bot.record.launch?.limits?.map(\.wire) ?? []
            status.isolation = bot.record.launch?.isolation?.map(\.wire) ?? []
        }
        status.problems = (bot.record.launch?.problems ?? []).map(\.wire)
        if let exit = bot.record.lastExit {
            status.lastExit.code = exit.code
            status.lastExit.signal = exit.signal
            status.lastExit.atUnixMs = exit.atUnixMilliseconds
            status.lastExit.lastStderr = exit.lastStderr
            status.lastExit.requested = exit.wasRequested
            status.lastExit.lost = exit.isLost
            status.lastExit.outOfMemory = exit.isOutOfMemory
            status.lastExit.launchID = exit.launchID
        }
        return status
    }
}

extension LimitInForce {
    fileprivate var wire: WireLimitInForce {
        var wire = WireLimitInForce()
        wire.resource = resource
        wire.value = value
        wire.mechanism = mechanism.rawValue
        wire.note = note
        return wire
    }
}

extension IsolationInForce {
    /// Nil for words of another version.
    init?(_ wire: WireIsolationInForce) {
        guard let aspect = Aspect(rawValue: wire.aspect), let mechanism = Mechanism(rawValue: wire.mechanism) else {
            return nil
        }
        self.init(aspect: aspect, mechanism: mechanism, note: wire.note)
    }

    var wire: WireIsolationInForce {
        var wire = WireIsolationInForce()
        wire.aspect = aspect.rawValue
        wire.mechanism = mechanism.rawValue
        wire.note = note
        return wire
    }
}

extension BotProblem {
    fileprivate var wire: WireBotProblem {
        var wire = WireBotProblem()
        wire.code = code.rawValue
        wire.count = toldCount
        wire.detail = detail
        wire.sinceUnixMs = sinceUnixMilliseconds
        return wire
    }
}

extension RuntimeProfile {
    /// What a probe answers, before it is known whether the profile can be used.
    var wire: WireRuntimeProfile {
        var wire = WireRuntimeProfile()
        wire.name = name
        wire.backend = backend.rawValue
        wire.description_p = ((container.map { [$0.image] } ?? []) + command.words).joined(separator: " ")
        wire.engine = engine
        wire.engineVersion = engineVersion
        wire.restartPolicy = restart.rawValue
        if !limits.isEmpty { wire.limits = limits.wire }
        wire.stopSequence = stop.steps.map { step in
            var wire = WireStopStep()
            wire.signal = StopSequence.name(of: step.signal)
            wire.waitMs = UInt32(clamping: step.milliseconds)
            return wire
        }
        wire.user = user ?? ""
        return wire
    }
}
