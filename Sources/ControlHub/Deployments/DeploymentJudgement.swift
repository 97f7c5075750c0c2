import WireFormat

/// What a copy's report means for a deployment, and what its end for the source. Pure, so that simulations decide by the same.
extension Deployment {
    /// The deployment with what a pass has copied.
    ///
    /// - Throws: where the bot cannot go by what has come: the source is removed in the end, and what is neither with the target nor
    ///   named would be gone.
    func taking(_ report: WireSyncReport) throws(DeploymentFailure) -> Deployment {
        let lost = report.lost
        guard lost.isEmpty else {
            throw DeploymentFailure(
                code: "workspace_incomplete",
                reason: "The source's agent is too old to carry the whole workspace; it left out "
                    + "\(lost.named(of: UInt64(clamping: lost.count))) (\(lost[0].reason)).",
                remedy: "Upgrade the agent of the source, and deploy again."
            )
        }
        if step == .deltaCopy, report.unstable > 0 {
            throw DeploymentFailure(
                code: "workspace_changing",
                reason: "\(report.unstable) files of the workspace were written to although the bot was stopped.",
                remedy: "Find out what else writes to the workspace on the source, and deploy again."
            )
        }
        var totals = totals ?? TransferTotals()
        totals.entries = report.entries
        totals.totalBytes = report.totalBytes
        totals.addedFiles += report.added
        totals.changedFiles += report.changed
        totals.removedFiles += report.removed
        totals.receivedBytes += report.receivedBytes
        totals.skippedEntries = report.skippedCount
        totals.leftOut = report.skipped.map(LeftOut.init)
        totals.digest = report.digest
        var deployment = self
        deployment.totals = totals
        return deployment
    }

    /// Whether what the source has may go: all of it is with the target, and the bot runs there for good.
    var isCarriedOver: Bool { origin == .source && (isConfirmed || !wasRunning) }
}
