import Foundation
import WireFormat

/// Lets a test hold a deployment exactly between two steps: `HUB_TEST_HOLD_DEPLOYMENTS` names a directory, and a step
/// `stop` does not begin while that holds a file `stop`. Beside it `stop.held` is written once the deployment waits there.
struct DeploymentGate: Sendable {
    private static let look = Duration.milliseconds(20)

    let directory: String?

    /// Returns when nothing holds the step. Throws `CancellationError`.
    func pass(_ step: DeploymentStep, clock: HubClock) async throws {
        guard let directory else { return }
        let file = "\(directory)/\(step.rawValue)"
        guard FileManager.default.fileExists(atPath: file) else { return }
        // Without it the test waits in vain and says so.
        _ = FileManager.default.createFile(atPath: file + ".held", contents: nil)
        while FileManager.default.fileExists(atPath: file) {
            try await clock.sleep(clock.now() + Self.look)
        }
    }
}
