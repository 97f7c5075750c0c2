import Foundation
import Testing

/// Each step of a deployment × each thing that can go wrong. Real programs; the hub is held exactly before the step.
@Suite("Whatever goes wrong in whatever step of a deployment", .serialized)
struct DeployFaultTests {
    /// What `make test` runs; `make deploy-faults` runs every cell.
    private static let chosen: [(String, DeployFault)] = [
        ("pre_copy", .targetAgentKilled), ("stop", .botWillNotStop), ("delta_copy", .linkCut),
        ("verify", .sourceAgentKilled), ("start", .botWillNotStart), ("start", .hubKilled),
        ("healthy", .targetAgentKilled), ("healthy", .operatorCancels), ("commit", .hubKilled),
        ("commit", .operatorCancels), ("delta_copy", .targetDiskFull),
    ]

    /// `DEPLOY_FAULTS`: `all`, or words of which a cell's name must hold one, such as `healthy` or `verify × hub`,
    /// separated by commas.
    private static var cells: [DeployFaultCell] {
        let wanted = ProcessInfo.processInfo.environment["DEPLOY_FAULTS"] ?? ""
        let all = DeployFault.allCases.flatMap { fault in
            DeployFaultCell.steps.map { DeployFaultCell(step: $0, fault: fault) }
        }
        if wanted.isEmpty { return chosen.map { DeployFaultCell(step: $0, fault: $1) } }
        if wanted == "all" { return all }
        let words = wanted.split(separator: ",").map(String.init)
        return all.filter { cell in words.contains { cell.description.contains($0) } }
    }

    @Test("one copy runs in the end, where the record says, with the same workspace, and the reason is told")
    func table() async throws {
        var results: [DeployFaultResult] = []
        var stages: [Bool: DeployStage] = [:]
        for cell in Self.cells {
            do {
                let stage: DeployStage
                if let present = stages[cell.fault.needsSmallDisks] {
                    stage = present
                } else {
                    stage = try await Self.stage(for: cell.fault)
                    stages[cell.fault.needsSmallDisks] = stage
                }
                let result = try await DeployFaultRun(stage: stage, cell: cell).run()
                results.append(result)
                print("deploy-faults: \(result.row)")
                guard !result.problems.isEmpty else { continue }
                Issue.record("\(cell): \(result.problems.joined(separator: "; "))\n\(stage.evidence)")
            } catch {
                Issue.record("\(cell): \(error)")
                results.append(.broken(cell, "\(error)".split(separator: "\n").first.map(String.init) ?? ""))
                print("deploy-faults: \(cell) could not be judged: \(error)")
            }
            // Whatever is left of it must not be blamed on the next cell.
            stages[cell.fault.needsSmallDisks] = nil
        }
        print("\ndeploy-faults: \(results.count) cells, \(results.count { !$0.problems.isEmpty }) failed")
        for result in results { print("deploy-faults: \(result.row)") }
    }

    private static func stage(for fault: DeployFault) async throws -> DeployStage {
        try await DeployStage(diskMegabytes: fault.needsSmallDisks ? 112 : nil)
    }
}

extension DeployFaultResult {
    /// A cell that came to no end.
    fileprivate static func broken(_ cell: DeployFaultCell, _ why: String) -> DeployFaultResult {
        DeployFaultResult(
            cell: cell,
            end: "",
            place: "",
            failedStep: "",
            reason: "",
            downtimeMilliseconds: nil,
            duration: .zero,
            problems: [why]
        )
    }
}
