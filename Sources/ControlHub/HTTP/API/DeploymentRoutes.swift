import Foundation
import Hummingbird

/// `/api/bots/{id}/deploy` and what came of it.
struct DeploymentRoutes {
    let services: HubServices

    private struct DeployBody: APIDocument {
        let nodeId: String?
        let runtimeProfile: String?
        let image: String?
        let dryRun: Bool?
        let force: Bool?

        static var memberDetails: [String: Schema] {
            [
                "node_id": Schema.string(lengths: 1...64).described("Where to; missing: where it is."),
                "runtime_profile": .name,
                "image": Schema.string(lengths: 0...512).described(
                    "Instead of the Docker profile's own; missing: as it is, empty: the profile's own again."
                ),
                "dry_run": Schema.boolean.described("Only look, and tell what would be done."),
                "force": Schema.boolean.described("Go without the source, and without the workspace that lies there."),
            ]
        }
    }

    private struct RollbackBody: APIDocument {
        let deploymentId: String?
        let dryRun: Bool?

        static var memberDetails: [String: Schema] {
            [
                "deployment_id": Schema.string(lengths: 1...64).described(
                    "Go back to before this one; missing: before the last that succeeded."
                ),
                "dry_run": Schema.boolean.described("Only look, and tell what would be done."),
            ]
        }
    }

    var routes: [APIRoute] {
        [
            APIRoute(
                .post,
                "/api/bots/{id}/deploy",
                .operator,
                .deployments,
                "Move a bot to another node or runtime profile, with its workspace; or see what that would do.",
                details:
                    "With `dry_run` the answer is 200 and a preview. Otherwise it is 202, and the deployment goes on by "
                    + "itself; `deployment.updated` and `deployment.progress` of `/api/events` tell how.",
                body: .json(DeployBody.self),
                answers: [.json(DeploymentPreviewDocument.self), .accepted(DeploymentDocument.self)],
                errors: [.deploymentRunning, .preflightFailed]
            ) { request, context in
                let id = try context.botID()
                let body = try await request.json(DeployBody.self)
                let wish = DeploymentOperations.Wish(
                    node: body.nodeId.map(NodeID.init(rawValue:)),
                    runtimeProfile: body.runtimeProfile,
                    image: body.image,
                    isForced: body.force ?? false
                )
                if body.dryRun ?? false {
                    let preview = try await context.whileClientWaits {
                        try await services.deployments.preview(id, wish)
                    }
                    return try JSONCoding.response(DeploymentPreviewDocument(preview))
                }
                let deployment = try await services.deployments.deploy(id, wish, by: try context.actor())
                return try JSONCoding.response(DeploymentDocument(deployment), status: .accepted)
            },
            APIRoute(
                .post,
                "/api/bots/{id}/rollback",
                .operator,
                .deployments,
                "Bring a bot back to where and how it was before a deployment, or see what that would do.",
                details:
                    "The workspace as it was then comes back where the hub kept a snapshot of it; otherwise it comes along as "
                    + "it is now. `workspace_from` says which. With `dry_run` the answer is 200 and a preview.",
                body: .json(RollbackBody.self),
                answers: [.json(DeploymentPreviewDocument.self), .accepted(DeploymentDocument.self)],
                errors: [.deploymentRunning, .preflightFailed]
            ) { request, context in
                let id = try context.botID()
                let body = try await request.json(RollbackBody.self)
                let undone = body.deploymentId.map(DeploymentID.init(rawValue:))
                if body.dryRun ?? false {
                    let preview = try await context.whileClientWaits {
                        try await services.deployments.previewRollBack(id, before: undone)
                    }
                    return try JSONCoding.response(DeploymentPreviewDocument(preview))
                }
                let deployment = try await services.deployments.rollBack(
                    id,
                    before: undone,
                    by: try context.actor()
                )
                return try JSONCoding.response(DeploymentDocument(deployment), status: .accepted)
            },
            APIRoute(
                .get,
                "/api/bots/{id}/deployments",
                .viewer,
                .deployments,
                "A bot's deployments, newest first.",
                parameters: [.limit, .cursor],
                answers: [.json(Page<DeploymentDocument>.self)]
            ) { request, context in
                let limit = try request.pageLimit()
                let deployments = try await services.deployments.store.list(
                    try context.botID(),
                    before: request.cursor(of: DeploymentID.self),
                    limit: limit + 1
                )
                return try JSONCoding.response(
                    Page(deployments, limit: limit, cursor: \.id.rawValue, item: DeploymentDocument.init)
                )
            },
            APIRoute(
                .get,
                "/api/deployments/{id}",
                .viewer,
                .deployments,
                "One deployment.",
                answers: [.json(DeploymentDocument.self)]
            ) { _, context in
                let id = DeploymentID(rawValue: try context.part("id"))
                return try JSONCoding.response(DeploymentDocument(try await services.deployments.store.deployment(id)))
            },
            APIRoute(
                .post,
                "/api/deployments/{id}/cancel",
                .operator,
                .deployments,
                "End a deployment before its commit; the bot goes back to where it was.",
                answers: [.accepted(DeploymentDocument.self)],
                errors: [.notCancellable]
            ) { _, context in
                let id = DeploymentID(rawValue: try context.part("id"))
                let deployment = try await services.deployments.cancel(id, by: try context.actor())
                return try JSONCoding.response(DeploymentDocument(deployment), status: .accepted)
            },
        ]
    }
}
