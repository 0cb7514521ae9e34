# Values of kernel regressions in R for eight data sets, which tests/kvar/test_against_r.py compares with ours.
#
#     cd tests/kept/r && Rscript values.R
#
# Written by R 4.2.2 with KernSmooth 2.23.20, sm 2.2.5.7.1 and MASS 7.3.58.2. A row of values.csv has a data set, the
# call, the bandwidth, where, and the value with its standard error where the call gives one.
suppressMessages({library(KernSmooth); library(MASS); library(sm)})

sets <- list(
  cars = cars[, 1:2], faithful = faithful[, 1:2], mcycle = mcycle[, 1:2], GAGurine = GAGurine[, 1:2],
  geyser = geyser[, c("duration", "waiting")], Boston = Boston[, c("lstat", "medv")],
  LakeHuron = data.frame(1875:1972, as.numeric(LakeHuron)), airquality = na.omit(airquality[, c("Wind", "Ozone")]))

data <- values <- NULL
keep <- function(set, call, h, at, value, se = NA)
  values <<- rbind(values, data.frame(set, call, h, at, value, se))

for (set in names(sets)) {
  x <- sets[[set]][, 1]; y <- sets[[set]][, 2]
  data <- rbind(data, data.frame(set, x, y))
  h <- signif(diff(range(x)) / 12, 2)
  at <- signif(seq(min(x), max(x), length = 7), 4)[2:6]
  # Gaussian kernel: means and lines, with the standard errors of the lines.
  for (degree in 0:1) {
    fit <- sm.regression(x, y, h = h, eval.points = at, poly.index = degree, nbins = 0, display = "none")
    keep(set, paste0("sm.regression(poly.index=", degree, ")"), h, at, fit$estimate, fit$se / fit$sigma)
  }
  # Gaussian kernel, binned on a fine grid: fits and derivatives.
  for (degree in 1:2) for (drv in 0:degree) {
    fit <- locpoly(x, y, drv = drv, degree = degree, bandwidth = 2 * h, gridsize = 20001)
    keep(set, paste0("locpoly(degree=", degree, " drv=", drv, ")"), 2 * h, at, approx(fit$x, fit$y, at)$y)
  }
  # Uniform kernel; the bandwidth of ksmooth is the whole window.
  w <- 3.1 * h
  keep(set, "ksmooth(box)", w, at, ksmooth(x, y, "box", bandwidth = 2 * w, x.points = at)$y)
  # Tricube kernel and weights that count observations, by least squares: value and slope with their standard errors.
  counts <- 1 + seq_along(x) %% 3
  for (t in at) {
    k <- pmax(1 - (abs(x - t) / w)^3, 0)^3
    fit <- lm(y ~ I(x - t) + I((x - t)^2), weights = counts * k)
    X <- cbind(1, x - t, (x - t)^2)
    rows <- solve(t(X) %*% (X * counts * k), t(X * counts * k))
    se <- sqrt(rowSums(sweep(rows^2, 2, counts, "/")))
    for (drv in 0:1) keep(set, paste0("lm(tricube drv=", drv, ")"), w, t, coef(fit)[drv + 1], se[drv + 1])
  }
  # The leave-one-out error of local lines, by least squares without each observation in turn.
  residual <- sapply(seq_along(x), function(i) {
    fit <- lm(y ~ I(x - x[i]), weights = dnorm((x - x[i]) / h), subset = -i)
    y[i] - coef(fit)[1]
  })
  keep(set, "lm(leave-one-out)", h, NA, mean(residual^2))
  keep(set, "dpill", NA, NA, dpill(x, y))
}
write.csv(format(data, digits = 15, trim = TRUE), "data.csv", row.names = FALSE, quote = FALSE)
write.csv(format(values, digits = 15, trim = TRUE), "values.csv", row.names = FALSE, quote = FALSE)
