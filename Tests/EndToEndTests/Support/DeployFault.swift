import Foundation
import Glibc

/// A row of the fault table: what goes wrong just before a step begins.
enum DeployFault: String, CaseIterable, Sendable {
    /// `kill -9`, and started again once the hub has noticed.
    case sourceAgentKilled = "source agent killed"
    case targetAgentKilled = "target agent killed"
    /// `kill -9`, and started again at once.
    case hubKilled = "hub killed"
    /// Both nodes', until the hub has noticed.
    case linkCut = "link cut"
    /// Until the deployment has ended.
    case targetDiskFull = "target disk full"
    case botWillNotStart = "bot will not start on target"
    /// It is stopped by SIGSTOP, so that it takes no other signal but SIGKILL.
    case botWillNotStop = "bot will not stop on source"
    case operatorCancels = "operator cancels"

    var needsSmallDisks: Bool { self == .targetDiskFull }
}

/// A cell of the fault table.
struct DeployFaultCell: Sendable, Equatable, CustomStringConvertible {
    static let steps = [
        "preflight", "pre_copy", "stop", "delta_copy", "verify", "start", "healthy", "commit", "clean_up",
    ]

    let step: String
    let fault: DeployFault

    var description: String { "\(step) × \(fault.rawValue)" }

    /// Why the fault has no effect in this step, and what the cell does instead; nil where it has.
    var instead: String? {
        switch (fault, step) {
        case (.botWillNotStart, "healthy"):
            "its copy runs already; it cannot start a second time, and is not asked to"
        case (.botWillNotStart, "commit"), (.botWillNotStart, "clean_up"):
            "its copy runs already; nothing starts it again"
        case (.botWillNotStop, "delta_copy"), (.botWillNotStop, "verify"), (.botWillNotStop, "start"):
            "the source's bot has ended; the step runs undisturbed"
        case (.botWillNotStop, "healthy"):
            "the source's bot has ended; the target's copy will not stop, and the operator cancels"
        case (.botWillNotStop, "commit"), (.botWillNotStop, "clean_up"):
            "the source's bot has ended; the step runs undisturbed"
        case (.operatorCancels, "commit"), (.operatorCancels, "clean_up"):
            "nothing leads back; the wish is refused"
        default: nil
        }
    }

    private var index: Int { Self.steps.firstIndex(of: step) ?? 0 }

    private func isUpTo(_ last: String) -> Bool { index <= Self.steps.firstIndex(of: last) ?? 0 }

    /// The ends that are right.
    var ends: [String] {
        switch fault {
        // A preflight that finds its nodes away ends there; later steps wait for them.
        case .sourceAgentKilled, .targetAgentKilled, .linkCut, .hubKilled:
            step == "preflight" ? ["failed", "succeeded"] : ["succeeded"]
        // What does not fit is told by the copy, and without room a bot cannot be installed or started.
        // The bot's word that it is ready may be among what a full disk costs.
        case .targetDiskFull:
            isUpTo("start") ? ["failed"] : step == "healthy" ? ["failed", "succeeded"] : ["succeeded"]
        case .botWillNotStart: isUpTo("start") ? ["failed"] : ["succeeded"]
        case .botWillNotStop: step == "healthy" ? ["cancelled"] : ["succeeded"]
        case .operatorCancels: isUpTo("healthy") ? ["cancelled"] : ["succeeded"]
        }
    }
}

/// What became of a cell.
struct DeployFaultResult: Sendable {
    let cell: DeployFaultCell
    let end: String
    let place: String
    let failedStep: String
    let reason: String
    let downtimeMilliseconds: Int?
    let duration: Duration
    var problems: [String]

    var row: String {
        func padded(_ text: String, _ width: Int) -> String {
            text.padding(toLength: max(width, text.count), withPad: " ", startingAt: 0)
        }
        let away = downtimeMilliseconds.map { "\($0) ms" } ?? "-"
        let took = Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
        let verdict = problems.isEmpty ? "ok" : "FAILED"
        return [
            padded(verdict, 6), padded(cell.step, 10), padded(cell.fault.rawValue, 28), padded(end, 9),
            padded(place, 6), padded(away, 9), padded(String(format: "%.1f s", took), 7),
            ([failedStep.isEmpty ? "" : "[\(failedStep)]", reason] + [cell.instead.map { "(\($0))" } ?? ""] + problems)
                .filter { !$0.isEmpty }.joined(separator: " "),
        ].joined(separator: "  ")
    }
}

/// Carries out one cell on a stage, and judges what it comes to.
struct DeployFaultRun {
    let stage: DeployStage
    let cell: DeployFaultCell

    func run() async throws -> DeployFaultResult {
        let began = ContinuousClock.now
        let (source, target) = (stage.source, stage.target)
        try await stage.online(source)
        try await stage.online(target)
        try await stage.settled()
        try await stage.idle()
        let expected = try change(source.workspace(of: stage.bot))
        _ = stage.copies.takeMost()
        stage.hold(cell.step)
        let deployment = try await stage.deploy()
        try await eventually("the deployment waits before \(cell.step)", or: { stage.evidence }) {
            stage.isHeld(cell.step) ? () : nil
        }
        var problems: [String] = []
        let filler = try await strike(source, target, deployment, &problems)
        if let filler, ["healthy", "commit"].contains(cell.step) {
            // Committed and told what is wrong, or on its way back: now somebody frees the disk.
            try await eventually(
                "the hub says what the target lacks",
                or: { "\(try await stage.state(of: deployment))\n\(stage.evidence)" }
            ) { () -> Void? in
                let now = try await stage.state(of: deployment)
                // Where the bot's word that it is ready was among what the full disk cost, it goes back after 90 s.
                let isOver = now["state"] == "returning" || now["finished_at"].string != nil
                return isOver || now["note"].string != nil ? () : nil
            }
            try FileManager.default.removeItem(at: filler)
        }
        let ended = try await stage.end(of: deployment)
        try heal(target, filler)
        problems += try await judge(ended, expected)
        return DeployFaultResult(
            cell: cell,
            end: ended["state"].string ?? "",
            place: stage.source === source ? "source" : "target",
            failedStep: ended["failed_step"].string ?? "",
            reason: [ended["reason"].string, ended["note"].string].compactMap(\.self).joined(separator: " "),
            downtimeMilliseconds: ended["downtime_ms"].int,
            duration: .now - began,
            problems: problems
        )
    }

    /// Gives the workspace something to carry: a large file of which a part is another one each time, small ones, one that is
    /// gone, a link, odd names.
    private func change(_ workspace: URL) throws -> [String] {
        let manager = FileManager.default
        let large = workspace.appending(path: "notes.bin")
        var bytes =
            (try? Data(contentsOf: large))
            ?? Data((0..<1_500_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) })
        let start = Int.random(in: 0..<1_400_000)
        for index in start..<(start + 50_000) { bytes[index] = .random(in: 0...255) }
        try bytes.write(to: large)
        let folder = workspace.appending(path: "daily/odd \u{e9}\n name")
        try manager.createDirectory(at: folder, withIntermediateDirectories: true)
        for old in try manager.contentsOfDirectory(atPath: folder.path) {
            try manager.removeItem(at: folder.appending(path: old))
        }
        for number in 0..<20 {
            try Data("entry \(number) \(UInt64.random(in: 0 ... .max))\n".utf8)
                .write(to: folder.appending(path: "\(Int.random(in: 0...9_999))-\(number)"))
        }
        let link = workspace.appending(path: "latest")
        try? manager.removeItem(at: link)  // absent the first time
        try manager.createSymbolicLink(atPath: link.path, withDestinationPath: "notes.bin")
        return try TreeHash.lines(workspace)
    }

    /// Does it, and lets the deployment go on.
    ///
    /// - Returns: the file that fills the target's disk.
    private func strike(
        _ source: DeployStage.Node,
        _ target: DeployStage.Node,
        _ deployment: JSON,
        _ problems: inout [String]
    ) async throws -> URL? {
        var filler: URL?
        switch cell.fault {
        case .sourceAgentKilled: try await killed(source)
        case .targetAgentKilled: try await killed(target)
        case .hubKilled:
            stage.release(cell.step)
            try await stage.restartHub()
        case .linkCut:
            for node in [source, target] { node.relay.cut() }
            stage.release(cell.step)
            for node in [source, target] { try await stage.gone(node) }
            for node in [source, target] { node.relay.mend() }
        case .targetDiskFull:
            filler = try target.disk?.fill(target.agent)
        case .botWillNotStart:
            _ = FileManager.default.createFile(atPath: target.marker.path, contents: nil)
        case .botWillNotStop:
            for pid in source.copies { kill(pid, SIGSTOP) }
            if cell.step == "healthy" {
                for pid in target.copies { kill(pid, SIGSTOP) }
                try await cancel(deployment, expecting: 202, &problems)
            }
        case .operatorCancels:
            try await cancel(deployment, expecting: cell.instead == nil ? 202 : 409, &problems)
        }
        stage.release(cell.step)
        return filler
    }

    private func killed(_ node: DeployStage.Node) async throws {
        stage.kill(node)
        // What the step does first, it does while the agent is dead.
        stage.release(cell.step)
        try await stage.gone(node)
        try stage.restart(node)
    }

    private func cancel(_ deployment: JSON, expecting status: Int, _ problems: inout [String]) async throws {
        let id = deployment["id"].string ?? ""
        let answer = try await stage.api.send("POST", "/api/deployments/\(id)/cancel", [:])
        if answer.status != status { problems.append("cancel answered \(answer.status): \(answer.json)") }
    }

    private func heal(_ target: DeployStage.Node, _ filler: URL?) throws {
        // Absent in most cells, or removed before.
        if let filler { try? FileManager.default.removeItem(at: filler) }
        try? FileManager.default.removeItem(at: target.marker)
    }

    private func judge(_ ended: JSON, _ expected: [String]) async throws -> [String] {
        var problems: [String] = []
        let end = ended["state"].string ?? ""
        if !cell.ends.contains(end) { problems.append("it ended as \(end), not as \(cell.ends)") }
        if end == "failed" {
            let words = [ended["failed_step"].string, ended["reason"].string, ended["remedy"].string]
            if words.contains(where: { $0?.isEmpty != false }) { problems.append("no plain reason: \(ended)") }
        }
        let isMoved = stage.source.id == ended["target"]["node_id"].string
        if isMoved != (end == "succeeded") { problems.append("the record names \(stage.source.name)") }
        do {
            try await stage.settled()
        } catch {
            problems.append("\(error)")
        }
        let most = stage.copies.takeMost()
        if most.count > 1 { problems.append("\(most.count) copies at once: \(most.sight)") }
        let found = try TreeHash.lines(stage.source.workspace(of: stage.bot))
        if found != expected {
            let difference = found.difference(from: expected).prefix(5).map { "\($0)" }
            problems.append("the workspace is another one: \(difference)")
        }
        return problems
    }
}
