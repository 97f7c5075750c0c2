import Foundation
import WireFormat

/// Where and how a bot is run, in JSON.
struct PlacementDocument: Codable, APIDocument {
    static let schemaName: String? = "Placement"

    let nodeId: String
    let runtimeProfile: String
    let image: String?

    init(_ placement: Placement) {
        nodeId = placement.node.rawValue
        runtimeProfile = placement.runtimeProfile
        image = placement.image
    }
}

/// One of the first entries of a workspace that cannot be carried, in JSON.
struct LeftOutDocument: Codable, Sendable {
    let path: String
    let reason: String

    init(_ entry: LeftOut) {
        (path, reason) = (entry.path, entry.reason)
    }
}

/// A deployment in JSON.
struct DeploymentDocument: Codable, APIDocument {
    static let schemaName: String? = "Deployment"

    let id: String
    let botId: String
    let actor: String
    let state: DeploymentState
    let step: DeploymentStep
    let steps: [DeploymentStep]
    let source: PlacementDocument
    let target: PlacementDocument
    let force: Bool
    let workspaceFrom: WorkspaceOrigin
    let createdAt: Date
    let updatedAt: Date
    let finishedAt: Date?
    let cancelRequested: Bool
    let failedStep: DeploymentStep?
    let errorCode: String?
    let reason: String?
    let remedy: String?
    let note: String?
    let workspace: Transfer?
    let downtimeMs: Int64?

    /// What the copies moved, together.
    struct Transfer: Codable, Sendable {
        let entries: UInt64
        let totalBytes: UInt64
        let addedFiles: UInt64
        let changedFiles: UInt64
        let removedFiles: UInt64
        let receivedBytes: UInt64
        let skippedEntries: UInt64
        let leftOut: [LeftOutDocument]?
    }

    static var memberDetails: [String: Schema] {
        [
            "step": Schema().described("Where it is, or was when it ended."),
            "steps": Schema().described("What it goes through, in order."),
            "failed_step": Schema().described("Where it turned back."),
            "workspace_from": Schema().described(
                "`source`: carried over. `target`: what lay there. `snapshot`: one that the hub had kept."
            ),
            "remedy": Schema().described("What to do next."),
            "note": Schema().described("What else is worth knowing of how it ended."),
            "downtime_ms": Schema().described("How long the bot was away; missing where it was not, or is not back."),
        ]
    }

    init(_ deployment: Deployment) {
        id = deployment.id.rawValue
        botId = deployment.bot.rawValue
        actor = deployment.actor
        state = deployment.state
        step = deployment.step
        steps = DeploymentPlan(deployment).steps
        source = PlacementDocument(deployment.source)
        target = PlacementDocument(deployment.target)
        force = deployment.isForced
        workspaceFrom = deployment.origin
        createdAt = deployment.createdAt
        updatedAt = deployment.updatedAt
        finishedAt = deployment.finishedAt
        cancelRequested = deployment.isCancelRequested
        failedStep = deployment.failedStep
        errorCode = deployment.failure?.code
        reason = deployment.failure?.reason
        remedy = deployment.failure?.remedy
        let asItIs = deployment.isRollBackAsItIs && deployment.state == .succeeded ? Deployment.asItIs : nil
        let notes = [asItIs, deployment.note].compactMap(\.self)
        note = notes.isEmpty ? nil : notes.joined(separator: " ")
        workspace = deployment.totals.map { totals in
            Transfer(
                entries: totals.entries,
                totalBytes: totals.totalBytes,
                addedFiles: totals.addedFiles,
                changedFiles: totals.changedFiles,
                removedFiles: totals.removedFiles,
                receivedBytes: totals.receivedBytes,
                skippedEntries: totals.skippedEntries,
                leftOut: totals.leftOut.map { $0.map(LeftOutDocument.init) }
            )
        }
        downtimeMs = deployment.downtime?.milliseconds
    }
}

/// What a deployment would do, in JSON.
struct DeploymentPreviewDocument: Codable, APIDocument {
    static let schemaName: String? = "DeploymentPreview"

    let isPossible: Bool
    let checks: [Check]
    let source: PlacementDocument
    let target: PlacementDocument
    let configChanges: Bool
    let workspaceFrom: WorkspaceOrigin
    let snapshotId: String?
    let workspace: Changes?
    let expectedDowntimeMs: Int64?

    struct Check: Codable, Sendable {
        let name: String
        let outcome: PreflightCheck.Outcome
        let message: String
        let remedy: String?
    }

    struct Changes: Codable, Sendable {
        let entries: UInt64
        let totalBytes: UInt64
        let addedFiles: UInt64
        let changedFiles: UInt64
        let removedFiles: UInt64
        let changedBytes: UInt64
        let availableBytes: UInt64
        let files: [File]
        let leftOutEntries: UInt64
        let leftOut: [LeftOutDocument]
    }

    /// One of the first files that would change.
    struct File: Codable, Sendable {
        let path: String
        let change: String
        let bytes: UInt64
    }

    static var memberDetails: [String: Schema] {
        [
            "is_possible": Schema().described("No check failed."),
            "config_changes": Schema().described("The bot's config.json becomes another one, as by a rollback."),
            "workspace_from": Schema().described(
                "`source`: carried over. `target`: what lies there. `snapshot`: one that the hub keeps."
            ),
            "snapshot_id": Schema().described("Which one, of `/api/bots/{id}/snapshots`."),
            "workspace": Schema().described("Missing where it does not travel, or the nodes could not be asked."),
            "expected_downtime_ms": Schema().described(
                "How long it took the last time, or what is usual; missing where the bot does not run."
            ),
        ]
    }

    init(_ preview: DeploymentOperations.Preview) {
        isPossible = preview.checks.arePassed
        checks = preview.checks.map {
            Check(name: $0.name, outcome: $0.outcome, message: $0.message, remedy: $0.remedy)
        }
        source = PlacementDocument(preview.source)
        target = PlacementDocument(preview.target)
        configChanges =
            preview.target.config.map {
                WrittenJSON($0) != WrittenJSON(preview.source.config ?? "{}")
            } ?? false
        workspaceFrom = preview.origin
        snapshotId = preview.snapshot?.rawValue
        workspace = preview.report.map { report in
            Changes(
                entries: report.entries,
                totalBytes: report.totalBytes,
                addedFiles: report.added,
                changedFiles: report.changed,
                removedFiles: report.removed,
                changedBytes: report.changedBytes,
                availableBytes: report.availableBytes,
                files: report.changes.map { change in
                    File(
                        path: String(decoding: change.path, as: UTF8.self),
                        change: change.kind.word,
                        bytes: change.size
                    )
                },
                leftOutEntries: report.skippedCount,
                leftOut: report.skipped.map { LeftOutDocument(LeftOut($0)) }
            )
        }
        expectedDowntimeMs = preview.expectedDowntime?.milliseconds
    }
}

extension WireSyncChange.Kind {
    /// The word the API uses.
    fileprivate var word: String {
        switch self {
        case .add: "added"
        case .change: "changed"
        case .remove: "removed"
        case .unspecified, .UNRECOGNIZED: "unknown"
        }
    }
}
