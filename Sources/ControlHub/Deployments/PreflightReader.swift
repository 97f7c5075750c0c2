import SwiftProtobuf
import WireFormat

/// Finds out what a preflight judges.
struct PreflightReader: Sendable {
    let context: DeploymentContext

    /// - Parameter comparesWorkspaces: has both nodes compare the workspace, which takes as long as reading what has
    ///   changed since the last time.
    /// - Returns: the facts, and what the comparison told.
    func facts(
        bot: BotID,
        source: Placement,
        target: Placement,
        isForced: Bool,
        origin: WorkspaceOrigin,
        wasRunning: Bool,
        comparesWorkspaces: Bool
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
        if let node = facts.targetNode { facts.launch = await launch(target, on: node) }
        guard comparesWorkspaces, source.node != target.node, origin == .source,
            [facts.sourceNode, facts.targetNode].allSatisfy({ $0?.isConnected == true && $0?.canSync == true })
        else { return (facts, nil) }
        do {
            let report = try await context.transfers.run(
                WorkspaceTransfers.Request(
                    bot: bot,
                    source: source.node,
                    target: target.node,
                    transfer: "preview-\(bot.rawValue)",
                    isPreview: true,
                    takesLinks: facts.targetNode?.takesLinks == true
                )
            )
            facts.copy = PreflightFacts.Copy(
                totalBytes: report.totalBytes,
                changedBytes: report.changedBytes,
                availableBytes: report.availableBytes,
                leftOut: report.skipped,
                leftOutCount: report.skippedCount
            )
            return (facts, report)
        } catch let error as HubError {
            facts.copyFailure = error.detail
            return (facts, nil)
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
