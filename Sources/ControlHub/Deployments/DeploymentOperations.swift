import Foundation
import WireFormat

/// What operators do with deployments.
struct DeploymentOperations: Sendable {
    let context: DeploymentContext
    let queue: DeploymentQueue

    var store: DeploymentStore { DeploymentStore(database: context.database) }

    /// What an operator asks for; nil stands for what the bot has.
    struct Wish: Sendable {
        var node: NodeID?
        var runtimeProfile: String?
        var image: String?
        var isForced = false
    }

    /// What a deployment would do.
    struct Preview: Sendable {
        let source: Placement
        let target: Placement
        let origin: WorkspaceOrigin
        /// Of the origin `snapshot`.
        let snapshot: SnapshotID?
        let checks: [PreflightCheck]
        /// Nil where the workspace does not travel, or the nodes could not be asked.
        let report: WireSyncReport?
        /// Nil where the bot does not run.
        let expectedDowntime: Duration?
    }

    /// Looks at everything and changes nothing. Throws `notFound`, `deploymentRunning`.
    func preview(_ id: BotID, _ wish: Wish) async throws -> Preview {
        try await requireNone(of: id)
        let bot = try await context.bots.store.bot(id)
        let (source, target) = try Self.placements(bot, wish)
        let latest = wish.isForced ? try await context.snapshots.store.list(id).first : nil
        let origin: WorkspaceOrigin = wish.isForced ? (latest == nil ? .target : .snapshot) : .source
        return try await preview(
            bot,
            Course(source: source, target: target, isForced: wish.isForced, origin: origin, snapshot: latest?.id)
        )
    }

    /// What `rollBack` would do. Throws `notFound`, `deploymentRunning`.
    func previewRollBack(_ id: BotID, before deployment: DeploymentID?) async throws -> Preview {
        try await requireNone(of: id)
        let bot = try await context.bots.store.bot(id)
        return try await preview(bot, try await course(back: bot, before: deployment))
    }

    private func preview(_ bot: Bot, _ course: Course) async throws -> Preview {
        let isRunning = bot.desiredState == .running
        let (facts, report) = try await PreflightReader(context: context).facts(
            bot: bot.id,
            source: course.source,
            target: course.target,
            isForced: course.isForced,
            origin: course.origin,
            wasRunning: isRunning,
            isPreview: true
        )
        return Preview(
            source: course.source,
            target: course.target,
            origin: course.origin,
            snapshot: course.snapshot,
            checks: facts.checks,
            report: report,
            expectedDowntime: isRunning ? try await lastDowntime(of: bot.id) ?? Self.usualDowntime : nil
        )
    }

    /// Begins a deployment. Throws `notFound`, `deploymentRunning`, and `preflightFailed` where it is clear already
    /// that it cannot work.
    func deploy(_ id: BotID, _ wish: Wish, by actor: Actor) async throws -> Deployment {
        if let begun = try await begunBefore("bot.deploy") { return begun }
        let bot = try await context.bots.store.bot(id)
        let (source, target) = try Self.placements(bot, wish)
        return try await begin(bot, source, target, isForced: wish.isForced, action: "bot.deploy", by: actor)
    }

    /// Brings a bot back to where and how it was before a deployment: node, profile, image and configuration, and the
    /// workspace where a snapshot of it was kept. Otherwise the workspace comes along as it is now.
    func rollBack(_ id: BotID, before deployment: DeploymentID?, by actor: Actor) async throws -> Deployment {
        if let begun = try await begunBefore("bot.rollback") { return begun }
        let bot = try await context.bots.store.bot(id)
        let course = try await course(back: bot, before: deployment)
        return try await begin(
            bot,
            course.source,
            course.target,
            isForced: false,
            from: course.origin,
            snapshot: course.snapshot,
            action: "bot.rollback",
            by: actor
        )
    }

    /// From where to where a deployment leads, and with which workspace.
    private struct Course {
        let source: Placement
        let target: Placement
        var isForced = false
        let origin: WorkspaceOrigin
        let snapshot: SnapshotID?
    }

    private func course(back bot: Bot, before deployment: DeploymentID?) async throws -> Course {
        let past = try await store.list(bot.id, before: nil, limit: 200)
        guard let undone = past.first(where: { $0.state == .succeeded && (deployment == nil || $0.id == deployment) })
        else {
            throw HubError(
                .notFound,
                deployment == nil
                    ? "The bot was never deployed, so there is nothing to go back to."
                    : "There is no deployment \(deployment?.rawValue ?? "") of this bot that succeeded."
            )
        }
        // What is there may be the only copy of what the bot had before it was moved by force.
        let isHeld = try await context.database.read { db in
            try StrayStore.list(db, of: bot.id).contains { $0.node == undone.source.node }
        }
        guard !isHeld else {
            throw HubError(
                .conflict,
                "Node \(undone.source.node) still holds what it had of the bot, and going back would replace that. Place it there again with "
                    + "POST /api/nodes/\(undone.source.node)/strays/\(bot.id)/recover, or have it deleted with "
                    + "POST /api/nodes/\(undone.source.node)/strays/\(bot.id)/discard first."
            )
        }
        let kept = try await context.snapshots.store.list(bot.id).first { $0.deployment == undone.id }
        return Course(
            source: try Self.placement(of: bot),
            target: undone.source,
            origin: kept == nil ? .source : .snapshot,
            snapshot: kept?.id
        )
    }

    /// Ends a deployment that is not committed yet; the bot goes back to where it was. Throws `notCancellable`.
    func cancel(_ id: DeploymentID, by actor: Actor) async throws -> Deployment {
        let date = context.clock.date()
        let (_, cancelled) = try await context.database.once("deployment.cancel") { db in
            let deployment = try DeploymentStore.required(db, id)
            guard deployment.state == .running, DeploymentPlan.canReturn(from: deployment.step) else {
                throw HubError(
                    .notCancellable,
                    deployment.state.isOpen
                        ? "The deployment is at \(deployment.step.rawValue) and ends by itself."
                        : "The deployment has ended (\(deployment.state.rawValue))."
                )
            }
            try DeploymentStore.requestCancel(db, id)
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "deployment.cancel",
                target: id.rawValue,
                detail: deployment.bot.rawValue
            )
            return (id, deployment)
        }
        guard let cancelled else { return try await store.deployment(id) }
        queue.cancelWishes.wake()
        return cancelled
    }

    /// Throws `deploymentRunning` where the bot is being deployed.
    func requireNone(of bot: BotID) async throws {
        try await context.database.read { db in try DeploymentStore.requireNone(db, of: bot) }
    }

    // MARK: - Parts

    /// What this request has begun before. Asked first: what it began may be why it could not begin now.
    private func begunBefore(_ action: String) async throws -> Deployment? {
        guard let id = try await context.database.past(DeploymentID.self, named: action) else { return nil }
        return try await store.deployment(id)
    }

    /// Said where nothing is known of the bot: ending, the last changes, starting.
    private static let usualDowntime = Duration.seconds(5)

    private func lastDowntime(of bot: BotID) async throws -> Duration? {
        try await store.list(bot, before: nil, limit: 20).lazy.compactMap(\.downtime).first
    }

    static func placement(of bot: Bot) throws -> Placement {
        Placement(
            node: bot.nodeID,
            runtimeProfile: bot.runtimeProfile,
            image: bot.image,
            config: bot.config.text
        )
    }

    private static func placements(_ bot: Bot, _ wish: Wish) throws -> (source: Placement, target: Placement) {
        let source = try placement(of: bot)
        let profile = wish.runtimeProfile ?? bot.runtimeProfile
        // An image belongs to the profile it was chosen for; an empty one leads back to the profile's own.
        let image = wish.image ?? (profile == bot.runtimeProfile ? bot.image : nil)
        let target = Placement(
            node: wish.node ?? bot.nodeID,
            runtimeProfile: profile,
            image: image?.isEmpty == true ? nil : image,
            config: nil
        )
        return (source, target)
    }

    /// - Parameter origin: nil: the source's workspace, or without the source what the target has.
    func begin(
        _ bot: Bot,
        _ source: Placement,
        _ target: Placement,
        isForced: Bool,
        from origin: WorkspaceOrigin? = nil,
        snapshot: SnapshotID? = nil,
        action: String,
        by actor: Actor
    ) async throws -> Deployment {
        let latest = isForced && origin == nil ? try await context.snapshots.store.list(bot.id).first : nil
        let snapshot = snapshot ?? latest?.id
        let origin = origin ?? (isForced ? (latest == nil ? .target : .snapshot) : .source)
        let (facts, _) = try await PreflightReader(context: context).facts(
            bot: bot.id,
            source: source,
            target: target,
            isForced: isForced,
            origin: origin,
            wasRunning: bot.desiredState == .running,
            isPreview: false
        )
        if let failure = facts.checks.failure {
            throw HubError(.preflightFailed, "\(failure.reason) \(failure.remedy)")
        }
        let date = context.clock.date()
        let deployment = Deployment(
            id: .make(at: date),
            bot: bot.id,
            actor: actor.name,
            createdAt: date,
            source: source,
            target: target,
            isForced: isForced,
            origin: origin,
            snapshot: snapshot?.rawValue,
            wasRunning: bot.desiredState == .running,
            state: .running,
            step: .preflight,
            isCancelRequested: false,
            updatedAt: date
        )
        _ = try await context.database.once(action) { db in
            guard try BotStore.required(db, bot.id).placementEpoch == bot.placementEpoch else {
                throw HubError(.conflict, "The bot was placed anew in this moment. Look where it is and try again.")
            }
            try DeploymentStore.requireNone(db, of: bot.id)
            try StrayStore.requireNoNewer(db, of: bot.id, except: origin == .target ? target.node : nil)
            // From here on it is not given up any more.
            if let snapshot { try SnapshotStore.require(db, snapshot) }
            try DeploymentStore.insert(db, deployment)
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: action,
                target: bot.id.rawValue,
                detail: "\(source.node) \(source.runtimeProfile) -> \(target.node) \(target.runtimeProfile)"
            )
            return (deployment.id, true)
        }
        context.publish(deployment)
        queue.add(deployment.id)
        return deployment
    }
}
