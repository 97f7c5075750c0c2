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

    /// What one cell leaves to the next, so that not each of them pays for a hub and two nodes.
    private struct Table {
        var stages: [Bool: DeployStage] = [:]
        var results: [DeployFaultResult] = []
    }

    // unsafe: the suite is serialized, so one cell at a time touches it.
    nonisolated(unsafe) private static var table = Table()

    @Test(
        "one copy runs in the end, where the record says, with the same workspace, and the reason is told",
        arguments: cells
    )
    func cell(_ cell: DeployFaultCell) async throws {
        defer { if cell == Self.cells.last { Self.finish() } }
        let isSmall = cell.fault.needsSmallDisks
        do {
            let stage: DeployStage
            if let present = Self.table.stages[isSmall] {
                stage = present
            } else {
                stage = try await DeployStage(diskMegabytes: isSmall ? 112 : nil)
                Self.table.stages[isSmall] = stage
            }
            let result = try await DeployFaultRun(stage: stage, cell: cell).run()
            Self.table.results.append(result)
            print("deploy-faults: \(result.row)")
            guard !result.problems.isEmpty else { return }
            Issue.record("\(cell): \(result.problems.joined(separator: "; "))\n\(stage.evidence)")
        } catch {
            Issue.record("\(cell): \(error)")
            let why = "\(error)".split(separator: "\n").first.map(String.init) ?? ""
            Self.table.results.append(.broken(cell, why))
            print("deploy-faults: \(cell) could not be judged: \(error)")
        }
        // Whatever is left of it must not be blamed on the next cell.
        Self.table.stages[isSmall] = nil
    }

    /// Ends the programs, and shows the whole table.
    private static func finish() {
        let results = table.results
        table = Table()
        print("\ndeploy-faults: \(results.count) cells, \(results.count { !$0.problems.isEmpty }) failed")
        for result in results { print("deploy-faults: \(result.row)") }
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
