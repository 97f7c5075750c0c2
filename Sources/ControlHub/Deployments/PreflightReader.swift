import SwiftProtobuf
import WireFormat

/// Finds out what a preflight judges.
struct PreflightReader: Sendable {
    let context: DeploymentContext

    /// For a node to say a word. An open session says nothing of whether its node still is there: a link that broke without
    /// a word is noticed by missing heartbeats, much later.
    private static let answerLimit = Duration.seconds(10)
    /// For all that nodes are asked, so that who waits for a preview gets one; `control-hub` waits for 30 s.
    private static let previewLimit = Duration.seconds(20)
    /// Between two tries to compare workspaces that another transfer of the bot is at.
    private static let busyPause = Duration.milliseconds(250)

    /// - Parameter isPreview: has both nodes answer and compare the workspace, and takes no longer than a client waits.
    /// - Returns: the facts, and what the comparison told.
    func facts(
        bot: BotID,
        source: Placement,
        target: Placement,
        isForced: Bool,
        origin: WorkspaceOrigin,
        wasRunning: Bool,
        isPreview: Bool
    ) async throws -> (facts: PreflightFacts, report: WireSyncReport?) {
        var facts = PreflightFacts(
            source: source,
            target: target,
            isForced: isForced,
            origin: origin,
            wasRunning: wasRunning,
            sourceNode: try await node(source.node),
            targetNode: try await node(target.node),
            holdsStray: try await StrayStore(database: context.database).list(target.node).contains { $0.bot == bot },
            snapshot: try await snapshot(bot, isForced)
        )
        guard isPreview else {
            if let node = facts.targetNode { facts.launch = await launch(target, on: node) }
            return (facts, nil)
        }
        let report = try await ask(about: bot, &facts)
        return (facts, report)
    }

    /// What nodes tell of themselves for a preview, each in a task of its own.
    private enum Told: Sendable {
        case word(NodeID, isSilent: Bool)
        case launch(PreflightFacts.Launch?)
        case comparison(Result<WireSyncReport, HubError>)
        case timeIsOver
    }

    /// Asks both nodes at once for all that they know, and adds what came in time.
    private func ask(about bot: BotID, _ facts: inout PreflightFacts) async throws -> WireSyncReport? {
        let (source, target) = (facts.source, facts.target)
        let targetNode = facts.targetNode
        var isComparing =
            source.node != target.node && facts.origin == .source
            && [facts.sourceNode, targetNode].allSatisfy { $0?.isConnected == true && $0?.canSync == true }
        var isChecking = targetNode != nil
        var quiet = Set(
            [(source.node, facts.sourceNode), (target.node, targetNode)].compactMap {
                $1?.isConnected == true ? $0 : nil
            }
        )
        var report: WireSyncReport?
        try await withThrowingTaskGroup(of: Told.self) { group in
            defer { group.cancelAll() }
            for node in quiet { group.addTask { .word(node, isSilent: try await isSilent(node, bot)) } }
            if let targetNode { group.addTask { .launch(await launch(target, on: targetNode)) } }
            if isComparing {
                let request = WorkspaceTransfers.Request(
                    bot: bot,
                    source: source.node,
                    target: target.node,
                    transfer: "preview-\(bot.rawValue)",
                    isPreview: true,
                    takesLinks: targetNode?.takesLinks == true
                )
                group.addTask { .comparison(try await compare(request)) }
            }
            group.addTask {
                try await context.clock.sleep(context.clock.now() + Self.previewLimit)
                return .timeIsOver
            }
            while isComparing || isChecking || !quiet.isEmpty, let told = try await group.next() {
                switch told {
                case .word(let node, let isSilent):
                    quiet.remove(node)
                    guard isSilent else { continue }
                    if node == source.node { facts.sourceNode?.isSilent = true }
                    if node == target.node { facts.targetNode?.isSilent = true }
                    // Nothing will come of it.
                    isComparing = false
                    if node == target.node { isChecking = false }
                case .launch(let launch):
                    facts.launch = launch
                    isChecking = false
                case .comparison(.success(let found)):
                    guard isComparing else { continue }
                    report = found
                    // Both have said far more than a word.
                    (isComparing, quiet) = (false, [])
                case .comparison(.failure(let error)):
                    guard isComparing else { continue }
                    facts.copyFailure = error.detail
                    isComparing = false
                case .timeIsOver:
                    facts.isCopyTooSlow = isComparing
                    if isChecking {
                        facts.launch = .unknown("The node was still looking when this had to be answered.")
                    }
                    return
                }
            }
        }
        if let report {
            facts.copy = PreflightFacts.Copy(
                totalBytes: report.totalBytes,
                changedBytes: report.changedBytes,
                availableBytes: report.availableBytes,
                leftOut: report.skipped,
                leftOutCount: report.skippedCount
            )
        }
        return report
    }

    /// Whether a node that has a session leaves a small question unanswered.
    private func isSilent(_ node: NodeID, _ bot: BotID) async throws -> Bool {
        var command = WireCommand()
        command.commandID = CommandID.make(at: context.clock.date()).rawValue
        command.repeatable = true
        command.describeBot.botID = bot.rawValue
        do {
            _ = try await context.channel.ask(command, on: node, within: Self.answerLimit)
            return false
        } catch let error as HubError {
            // Who refuses, as an agent that does not know the question, is there.
            return error.code == .agentTimeout
        }
    }

    private func compare(_ request: WorkspaceTransfers.Request) async throws -> Result<WireSyncReport, HubError> {
        while true {
            do {
                return .success(try await context.transfers.run(request))
            } catch let error as HubError where error.code == .hubBusy {
                // As where another preview is at it, or was given up in this moment.
                try await context.clock.sleep(context.clock.now() + Self.busyPause)
            } catch let error as HubError {
                return .failure(error)
            }
        }
    }

    /// The one that a forced move would take.
    private func snapshot(_ bot: BotID, _ isForced: Bool) async throws -> PreflightFacts.Kept? {
        guard isForced else { return nil }
        return try await context.snapshots.store.list(bot).first.map {
            PreflightFacts.Kept(takenAt: $0.createdAt, now: context.clock.date(), totalBytes: $0.totalBytes)
        }
    }

    /// For the node to ask a registry.
    private static let launchLimit = Duration.seconds(25)

    /// Asks a node that runs containers whether it could start one so, before anything is stopped for it.
    private func launch(_ target: Placement, on node: PreflightFacts.Node) async -> PreflightFacts.Launch? {
        guard node.isConnected, node.canChooseImage,
            node.profiles.contains(where: { $0.name == target.runtimeProfile && $0.backend == "docker" && $0.usable })
        else { return nil }
        var command = WireCommand()
        command.commandID = CommandID.make(at: context.clock.date()).rawValue
        command.repeatable = true
        command.checkLaunch = .with {
            $0.runtimeProfile = target.runtimeProfile
            $0.image = target.image ?? ""
        }
        do {
            let result = try await context.channel.ask(command, on: target.node, within: Self.launchLimit)
            return result.outcome == .done ? .possible : .impossible(result.message)
        } catch {
            return .unknown((error as? HubError)?.detail ?? "\(error)")
        }
    }

    private func node(_ id: NodeID) async throws -> PreflightFacts.Node? {
        guard let node = try await context.nodes.store.node(id) else { return nil }
        let live = context.nodes.registry.live(id)
        return PreflightFacts.Node(
            name: node.name,
            isConnected: live?.isConnected ?? false,
            healthReason: live?.healthReason ?? "Its agent has not connected since the hub started.",
            isRevoked: node.revokedAt != nil,
            isDraining: node.drainedAt != nil,
            profiles: node.hello?.runtimeProfiles ?? [],
            canSync: node.hello?.capabilities["workspace.sync"] == "true",
            takesLinks: node.hello?.capabilities["workspace.links"] == "true",
            canChooseImage: node.hello?.capabilities["bots.image"] == "true"
        )
    }
}
