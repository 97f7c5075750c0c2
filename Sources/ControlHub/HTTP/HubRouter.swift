import HTTPTypes
import Hummingbird

/// Puts the hub's routes together.
enum HubRouter {
    /// Every call that is described: by feature, each list beside what it does.
    static func routes(_ services: HubServices) -> [APIRoute] {
        SessionRoutes(services: services).routes
            + OperatorRoutes(services: services).routes
            + EnrollmentRoutes(services: services).routes
            + NodeRoutes(services: services).routes
            + NodeCallRoutes(services: services).routes
            + BotRoutes(services: services).routes
            + TalkRoutes(services: services).routes
            + LogRoutes(services: services).routes
            + WorkspaceRoutes(services: services).routes
            + DeploymentRoutes(services: services).routes
            + StrayRoutes(services: services).routes
            + SnapshotRoutes(services: services).routes
            + CommandRoutes(services: services).routes
            + EventRoutes(services: services).routes
            + OperationsRoutes(services: services).routes
            + RetentionRoutes(services: services).routes
            + WhoAmIRoute(services: services).routes
    }

    static func make(_ services: HubServices) throws -> Router<HubRequestContext> {
        let described = routes(services)
        let all = described + [try OpenAPIRoute.route(describing: described)]
        let router = Router(context: HubRequestContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: PacedAnswerMiddleware())
        router.add(middleware: SecurityHeadersMiddleware(isTLS: services.site.isTLS))
        router.add(middleware: RequestMetricsMiddleware(metrics: services.metrics, clock: services.clock))
        router.add(middleware: ErrorMiddleware(routes: all))
        router.add(middleware: PlainAddressMiddleware())
        DashboardRoutes().add(to: router.group())
        for route in all {
            let group = router.group()
            if case .role(let role) = route.access {
                group.add(middleware: AuthenticationMiddleware(services: services))
                    .add(middleware: RoleMiddleware(role: role))
                    .add(middleware: IdempotencyMiddleware(store: services.idempotency, clock: services.clock))
            }
            let parameters = route.allParameters
            group.on(route.routerPath, method: route.method) { request, context in
                try BodyBounds.check(parameters, request)
                return try await route.handler(request, context)
            }
        }
        return router
    }
}
