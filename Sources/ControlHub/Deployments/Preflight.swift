import Foundation
import WireFormat

/// One thing that has to be so for a deployment to work.
struct PreflightCheck: Sendable, Equatable, Codable {
    enum Outcome: String, Sendable, Codable, CaseIterable {
        case passed
        /// It may work all the same.
        case warning
        case failed
    }

    /// Stable: `target_online`, `profile_offered`, ...
    var name: String
    var outcome: Outcome
    /// What was found.
    var message: String
    /// What to do about it; nil where nothing has to be done.
    var remedy: String?
}

/// What is looked at before a deployment, in one value, so that the judgement is a function of it alone.
struct PreflightFacts: Sendable {
    struct Node: Sendable {
        var name: String
        var isConnected: Bool
        /// It was asked, and did not answer in time, although its session is open.
        var isSilent = false
        /// Why it is as it is, one sentence.
        var healthReason: String
        var isRevoked: Bool
        var isDraining: Bool
        var profiles: [WireRuntimeProfile]
        /// Moves workspaces.
        var canSync: Bool
        /// Takes symbolic links wherever they lead.
        var takesLinks = false
        /// Runs another image than the profile's, and says before whether that could work.
        var canChooseImage = false
    }

    /// What a look at both workspaces told; nil where none was taken.
    struct Copy: Sendable {
        var totalBytes: UInt64
        var changedBytes: UInt64
        var availableBytes: UInt64
        /// The first of what the source does not carry, and how many there are.
        var leftOut: [WireSyncSkipped] = []
        var leftOutCount: UInt64 = 0
    }

    enum Launch: Sendable, Equatable {
        case possible
        /// With the reason, in the words of the node.
        case impossible(String)
        /// It gave no answer.
        case unknown(String)
    }

    /// A snapshot that the hub keeps.
    struct Kept: Sendable {
        var takenAt: Date
        var now: Date
        var totalBytes: UInt64

        /// As people say it: the two largest units.
        var age: String {
            let seconds = max(0, Int(saturating: now.timeIntervalSince(takenAt)))
            let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")]
            var rest = seconds
            var words: [String] = []
            for (length, name) in units {
                if rest >= length || (words.isEmpty && length == 1) { words.append("\(rest / length) \(name)") }
                rest %= length
            }
            return words.prefix(2).joined(separator: " ")
        }
    }

    var source: Placement
    var target: Placement
    var isForced: Bool
    var origin = WorkspaceOrigin.source
    var wasRunning: Bool
    var sourceNode: Node?
    var targetNode: Node?
    /// The target still has a workspace of this bot from before.
    var holdsStray = false
    /// What the target said of starting a container so.
    var launch: Launch?
    /// What a forced move takes in place of the source's workspace.
    var snapshot: Kept?
    var copy: Copy?
    /// Why the look at the workspaces failed.
    var copyFailure: String?
    /// The look at the workspaces took longer than who asks can wait.
    var isCopyTooSlow = false

    var checks: [PreflightCheck] {
        var checks = [placement]
        if Deployment.isRollBackAsItIs(to: target, from: origin) {
            checks.append(
                PreflightCheck(
                    name: "workspace_of_then",
                    outcome: .warning,
                    message: Deployment.asItIs,
                    remedy: "Have the hub keep snapshots of the bot, for the next time."
                )
            )
        }
        guard let targetNode else {
            checks.append(
                PreflightCheck(
                    name: "target_known",
                    outcome: .failed,
                    message: "There is no node \(target.node).",
                    remedy: "List the nodes with GET /api/nodes."
                )
            )
            return checks
        }
        checks.append(online(targetNode))
        checks.append(profile(targetNode))
        if let image = image(targetNode) { checks.append(image) }
        if let isolation { checks.append(isolation) }
        guard source.node != target.node else { return checks }
        checks.append(reachableSource)
        if origin == .source {
            checks.append(transfer(targetNode))
            if let completeness { checks.append(completeness) }
            if let disk { checks.append(disk) }
        }
        if holdsStray, origin != .target { checks.append(stray(targetNode)) }
        return checks
    }

    private var placement: PreflightCheck {
        source.isSamePlace(as: target) && target.config == nil
            ? PreflightCheck(
                name: "something_to_do",
                outcome: .warning,
                message: "The bot is placed so already; it will be started anew.",
                remedy: nil
            )
            : PreflightCheck(name: "something_to_do", outcome: .passed, message: "The placement changes.", remedy: nil)
    }

    private func stray(_ node: Node) -> PreflightCheck {
        PreflightCheck(
            name: "target_holds_stray",
            outcome: .warning,
            message: "Node \(node.name) still holds the workspace that the bot had there before; it will be replaced.",
            remedy: "Look at it first with GET /api/nodes/\(target.node)/strays, and recover or discard it."
        )
    }

    private func online(_ node: Node) -> PreflightCheck {
        let name = "target_online"
        if node.isRevoked {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: "Node \(node.name) was revoked.",
                remedy: "Pair it again, or choose another node."
            )
        }
        guard node.isConnected else {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: "Node \(node.name) is not connected. \(node.healthReason)",
                remedy: "Bring it online (`edge-agent doctor` on it says what is wrong), or choose another node."
            )
        }
        guard !node.isSilent else {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: Self.silence(of: node),
                remedy: "Try again when it answers, or choose another node."
            )
        }
        guard !node.isDraining else {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: "Node \(node.name) is being drained.",
                remedy: "End the drain of the node, or choose another."
            )
        }
        return PreflightCheck(name: name, outcome: .passed, message: "Node \(node.name) is connected.", remedy: nil)
    }

    private func profile(_ node: Node) -> PreflightCheck {
        let name = "profile_offered"
        guard let profile = node.profiles.first(where: { $0.name == target.runtimeProfile }) else {
            let offered = node.profiles.map(\.name).sorted().joined(separator: ", ")
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: "Node \(node.name) offers no runtime profile \(target.runtimeProfile).",
                remedy: offered.isEmpty
                    ? "Give the node's agent a runtime profile." : "Choose one of these: \(offered)."
            )
        }
        guard profile.usable else {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: "Runtime profile \(profile.name) of node \(node.name) cannot be used: "
                    + profile.reason.asSentence,
                remedy: "Set that right on the node; POST /api/nodes/\(target.node)/test looks again."
            )
        }
        return PreflightCheck(
            name: name,
            outcome: .passed,
            message:
                "Runtime profile \(profile.name) (\(profile.backend)) can be used: command and policy were looked at "
                + "on the node.",
            remedy: nil
        )
    }

    private func image(_ node: Node) -> PreflightCheck? {
        func check(_ outcome: PreflightCheck.Outcome, _ message: String, _ remedy: String? = nil) -> PreflightCheck {
            PreflightCheck(name: "image", outcome: outcome, message: message, remedy: remedy)
        }
        let profile = node.profiles.first { $0.name == target.runtimeProfile }
        guard profile?.backend == "docker" else {
            guard target.image != nil else { return nil }
            return check(
                .failed,
                "Runtime profile \(target.runtimeProfile) runs programs, not images.",
                "Leave `image` out, or choose a Docker profile."
            )
        }
        guard target.image == nil || node.canChooseImage else {
            return check(
                .failed,
                "The agent of \(node.name) runs no other image than its profiles name.",
                "Upgrade it, or leave `image` out."
            )
        }
        let image = target.image ?? profile?.image ?? ""
        switch launch {
        case .possible?:
            return check(.passed, "\(image) is on node \(node.name) or can be fetched, and its policy allows it.")
        case .impossible(let reason)?:
            return check(.failed, reason.asSentence, "Set that right on the node, or choose another image.")
        case .unknown(let reason)?:
            return check(.warning, "Whether \(image) can be had is not known. \(reason.asSentence)")
        case nil: return nil
        }
    }

    /// What the target leaves open that the source keeps closed; nil where nobody tells.
    private var isolation: PreflightCheck? {
        func sides(_ node: Node?, _ name: String) -> [WireIsolationInForce] {
            node?.profiles.first { $0.name == name }?.isolation ?? []
        }
        let (before, after) = (sides(sourceNode, source.runtimeProfile), sides(targetNode, target.runtimeProfile))
        guard !after.isEmpty else {
            guard !before.isEmpty, targetNode?.profiles.contains(where: { $0.name == target.runtimeProfile }) == true
            else { return nil }
            return PreflightCheck(
                name: "isolation",
                outcome: .warning,
                message: "The agent of \(targetNode?.name ?? "") does not tell what keeps its bots to themselves.",
                remedy: "Upgrade it."
            )
        }
        let open = after.filter { $0.mechanism == "none" }
        let lost = open.filter { side in before.contains { $0.aspect == side.aspect && $0.mechanism != "none" } }
        guard !lost.isEmpty else {
            let sides = open.map(\.aspect).joined(separator: ", ")
            return PreflightCheck(
                name: "isolation",
                outcome: .passed,
                message: open.isEmpty
                    ? "The target keeps the bot to itself." : "The target keeps the bot to itself, but for: \(sides).",
                remedy: nil
            )
        }
        let sides = lost.map { "\($0.aspect) (\($0.note))" }.joined(separator: "; ")
        return PreflightCheck(
            name: "isolation",
            outcome: .warning,
            message: "The target keeps the bot less to itself than where it is now: \(sides).",
            remedy: "Choose another node or runtime profile, or go on where that does not matter."
        )
    }

    private static func silence(of node: Node) -> String {
        "Node \(node.name) has a session and does not answer: its link may have broken without a word, or it is overloaded."
    }

    private var reachableSource: PreflightCheck {
        let name = "source_reachable"
        if let sourceNode, sourceNode.isConnected, !sourceNode.isSilent {
            return isForced && origin != .source
                ? PreflightCheck(
                    name: name,
                    outcome: .warning,
                    message: "The source is connected, and still its workspace will not be carried over.",
                    remedy: "Leave `force` out to take the workspace along."
                )
                : PreflightCheck(
                    name: name,
                    outcome: .passed,
                    message: "Node \(sourceNode.name) is connected.",
                    remedy: nil
                )
        }
        if let sourceNode, sourceNode.isSilent {
            return isForced
                ? PreflightCheck(
                    name: name,
                    outcome: .warning,
                    message:
                        "\(Self.silence(of: sourceNode)) \(loss) The old copy stays on the source and is stopped when that "
                        + "answers again.",
                    remedy: nil
                )
                : PreflightCheck(
                    name: name,
                    outcome: .failed,
                    message: "\(Self.silence(of: sourceNode)) So the workspace cannot be carried over now.",
                    remedy: "Try again when the source answers, or go without its workspace with `force`."
                )
        }
        let reason = sourceNode?.healthReason ?? "It does not exist any more."
        return isForced
            ? PreflightCheck(
                name: name,
                outcome: .warning,
                message:
                    "The source is not connected. \(reason) \(loss) The old copy stays on the source and is stopped when "
                    + "that comes back.",
                remedy: nil
            )
            : PreflightCheck(
                name: name,
                outcome: .failed,
                message: "The source is not connected, so the workspace cannot be carried over. \(reason)",
                remedy: "Bring the source online, or go without its workspace with `force`."
            )
    }

    /// What a forced move takes along, and what it loses.
    private var loss: String {
        guard let snapshot else {
            return "The hub keeps no copy of the workspace: the bot begins with what the target has of it."
        }
        return "The bot begins with the snapshot of \(snapshot.takenAt.rfc3339) (\(snapshot.totalBytes) bytes, "
            + "\(snapshot.age) old); what it has written since then is not taken along."
    }

    private func transfer(_ targetNode: Node) -> PreflightCheck {
        let name = "workspace_readable"
        let old = [sourceNode, targetNode].compactMap(\.self).filter { $0.isConnected && !$0.canSync }.map(\.name)
        if !old.isEmpty {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: "The agent of \(old.joined(separator: " and ")) cannot move workspaces.",
                remedy: "Upgrade it."
            )
        }
        if let copyFailure {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message: copyFailure,
                remedy: "Set that right and try again."
            )
        }
        guard let copy else {
            return PreflightCheck(
                name: name,
                outcome: .warning,
                message: isCopyTooSlow
                    ? "The nodes were still comparing the workspaces when this had to be answered, so how much is to be carried "
                        + "over is not known."
                    : "The workspaces were not compared, because a node is not connected or does not answer.",
                remedy: isCopyTooSlow ? "Go on, or ask again: a deployment looks at all of it in any case." : nil
            )
        }
        return PreflightCheck(
            name: name,
            outcome: .passed,
            message: "The workspace has \(size(copy.totalBytes)), of which \(size(copy.changedBytes)) differ.",
            remedy: nil
        )
    }

    /// What would be gone with the source's workspace; nil where nobody has looked.
    private var completeness: PreflightCheck? {
        guard let copy else { return nil }
        let name = "workspace_complete"
        let lost = copy.leftOut.filter { !$0.isSpecial }
        if let first = lost.first {
            return PreflightCheck(
                name: name,
                outcome: .failed,
                message:
                    "The agent of \(sourceNode?.name ?? "") is too old to carry the whole workspace; it would leave "
                    + "out \(lost.named(of: UInt64(clamping: lost.count))) (\(first.reason)).",
                remedy: "Upgrade it."
            )
        }
        guard copy.leftOutCount > 0 else {
            return PreflightCheck(
                name: name,
                outcome: .passed,
                message: "Everything in the workspace can be carried.",
                remedy: nil
            )
        }
        return PreflightCheck(
            name: name,
            outcome: .warning,
            message: "Sockets, named pipes and devices are not carried, and go with the workspace on the source: "
                + "\(copy.leftOut.named(of: copy.leftOutCount)).",
            remedy: nil
        )
    }

    private func size(_ bytes: UInt64) -> String { ByteCount.text(Double(bytes)) }

    private var disk: PreflightCheck? {
        guard let copy, copy.availableBytes > 0 else { return nil }
        // The tree that is there stays until the new one is whole.
        let isEnough = copy.totalBytes < copy.availableBytes
        return PreflightCheck(
            name: "disk_space",
            outcome: isEnough ? .passed : .failed,
            message: "The target has \(size(copy.availableBytes)) free for a workspace of \(size(copy.totalBytes)).",
            remedy: isEnough ? nil : "Free some space on the target."
        )
    }
}

extension [PreflightCheck] {
    /// Nothing that fails.
    var arePassed: Bool { allSatisfy { $0.outcome != .failed } }

    /// The first that fails, as the reason of a deployment.
    var failure: DeploymentFailure? {
        first { $0.outcome == .failed }.map {
            DeploymentFailure(code: $0.name, reason: $0.message, remedy: $0.remedy ?? "Look at the preflight's checks.")
        }
    }
}
